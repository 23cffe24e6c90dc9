//! Plausible bodies of the business routes, in the form that the vendor's SDK reads.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{Answer, ApiError};

/// `GET /wallet`
pub(crate) fn wallet() -> Value {
    json!({"assets": [
        {"currency": usdt(), "total": 1250.5, "pending": 50.5, "available": 1200},
        {"currency": euro(), "total": 300, "pending": 0, "available": 300},
    ]})
}

/// `GET /deals/{id}` and `GET /deals/{id}/credentials`. Every identifier is known; `canceled` is canceled.
pub(crate) fn deal(path: &str, now: u64) -> Result<Answer, ApiError> {
    let id = path.split('/').nth(2).unwrap_or_default();
    let canceled = id == "canceled";
    if path.ends_with("/credentials") {
        if canceled {
            return Err(ApiError::deal_canceled(id));
        }
        return Ok(Answer::ok(json!({"id": id, "type": "iban", "account": "DE02120300000000202051",
            "cardholder": "Ada Lovelace", "bankId": "BYLADEM1001"})));
    }
    let time = rfc3339(now);
    let status = if canceled { "canceled" } else { "pending" };
    Ok(Answer::ok(json!({
        "_id": id,
        "orderId": format!("order-{id}"),
        "projectId": "project",
        "currencyFrom": euro(),
        "currencyTo": usdt(),
        "direction": "F2C",
        "amount": 100,
        "status": {"name": status, "createdAt": time, "updatedAt": time},
        "amounts": {"crypto": 108, "fiat": 100, "fiat_net": 98},
        "metadata": {"invoiceId": format!("invoice-{id}"), "clientId": "client", "fiatAmount": 100},
        "receiptUrls": [],
        "isExpired": false,
        "createdAt": time,
        "updatedAt": time,
        "expiredAt": rfc3339(now + 3_600_000),
    })))
}

/// `POST /deals/payin`
pub(crate) fn payin(body: &Value) -> Result<Value, ApiError> {
    if body["amount"].as_f64().is_none() {
        return Err(ApiError::bad_request("amount", "must be a number"));
    }
    if body["currency"].as_str().is_none() {
        return Err(ApiError::bad_request("currency", "must be a text"));
    }
    let id = Uuid::new_v4().to_string();
    Ok(json!({
        "id": id,
        "status": "new",
        "type": body["type"].as_str().unwrap_or("iban"),
        "url": format!("https://pay.sandbox.example/{id}"),
        "deeplink": null,
        "m10": null,
        "cardholder": "Ada Lovelace",
        "account": "DE02120300000000202051",
        "bankId": body["bankId"],
        "accountSubType": null,
    }))
}

/// `GET /fx/calculation?amount=…`
pub(crate) fn quote(query: &str, now: u64) -> Result<Answer, ApiError> {
    let amount = query.split('&').find_map(|pair| pair.strip_prefix("amount=")).unwrap_or("100");
    let amount: f64 = amount.parse().map_err(|_| ApiError::bad_request("amount", "must be a number"))?;
    let (rate, fees) = (1.08, 2.0);
    Ok(Answer::ok(json!({
        "id": Uuid::new_v4().to_string(),
        "finalAmount": (amount - fees) * rate,
        "direction": "F2C",
        "fullRate": rate,
        "fullRateReverse": 1.0 / rate,
        "fees": fees,
        "fees_percent": 2,
        "quotes": [{"currencyFrom": "EUR", "currencyTo": "USDT", "pair": "EUR/USDT", "rate": rate}],
        "expiredAt": rfc3339(now + 60_000),
        "currency_from": euro(),
        "currency_to": usdt(),
    })))
}

/// A time in the format of HTTP headers.
pub(crate) fn http_date(seconds: u64) -> String {
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND_OF_9999)))
}

fn rfc3339(now: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(now)).to_string()
}

fn usdt() -> Value {
    json!({"_id": "usdt", "type": "CRYPTO", "code": "USDT", "symbol": "₮", "label": "Tether", "decimal": 6,
        "tokenType": "TRC20", "blockchainSymbol": "TRX", "isNative": false, "testnet": true})
}

fn euro() -> Value {
    json!({"_id": "eur", "type": "FIAT", "code": "EUR", "symbol": "€", "label": "Euro", "decimal": 2,
        "countryCode": "EU", "countryName": "European Union"})
}
