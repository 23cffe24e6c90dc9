//! The state and the decisions of the service. Nothing here reads a clock or a socket: `now` is an argument, in
//! milliseconds since 1970.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::answer::{Answer, ApiError};
use crate::call::Call;
use crate::credentials::Credentials;
use crate::deals;
use crate::route::Route;
use crate::switches::{BearerOnRefresh, ExpiresInForm, RateLimit, RetryAfter, Rotation, Switches};
use crate::token::{Signer, random_text};

/// The service: its switches, accounts and tokens.
pub(crate) struct State {
    /// The switches of its behaviour.
    pub(crate) switches: Switches,
    /// Counts of its actions.
    pub(crate) totals: Totals,
    signer: Signer,
    accounts: HashMap<String, Credentials>,
    families: Vec<Family>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    admitted: VecDeque<u64>,
    payins: HashMap<(String, String), Value>,
}

/// Counts of the service's actions, whether or not the answer arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Pairs made by an issue.
    pub(crate) issued: u64,
    /// Pairs made by a refresh.
    pub(crate) refreshed: u64,
    /// Pay-ins executed.
    pub(crate) payins: u64,
    /// Pay-ins answered from memory, since their `invoiceId` was known.
    pub(crate) duplicate_payins: u64,
}

/// The tokens to revoke.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Revoke {
    /// Only this access token.
    AccessToken(String),
    /// This refresh token and every other token of its family.
    RefreshToken(String),
    /// `true`: everything.
    All(bool),
}

/// All pairs that come from one issue.
struct Family {
    account: String,
    revoked: bool,
    pairs: u64,
    /// Access tokens of earlier pairs have ended.
    first_live_pair: u64,
}

struct Access {
    family: usize,
    pair: u64,
    expires: u64,
    revoked: bool,
}

struct Refresh {
    family: usize,
    expires: u64,
    first_used: Option<u64>,
}

#[derive(Deserialize)]
struct IssueBody {
    account_id: String,
    public_key: String,
}

#[derive(Deserialize)]
struct RefreshBody {
    refresh_token: String,
}

impl State {
    /// A service with one account and without tokens.
    pub(crate) fn new(switches: Switches, credentials: &Credentials) -> Self {
        let mut state = Self {
            switches,
            totals: Totals::default(),
            signer: Signer::new(),
            accounts: HashMap::new(),
            families: Vec::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            admitted: VecDeque::new(),
            payins: HashMap::new(),
        };
        state.add_account(credentials);
        state
    }

    /// Adds an account.
    pub(crate) fn add_account(&mut self, credentials: &Credentials) {
        self.accounts.insert(credentials.account_id.clone(), credentials.clone());
    }

    /// Gives an account another key. Its tokens stay valid.
    pub(crate) fn replace_key(&mut self, account_id: &str) -> Result<&Credentials, Error> {
        let account =
            self.accounts.get_mut(account_id).ok_or_else(|| Error::UnknownAccount(account_id.into()))?;
        *account = account.with_new_key()?;
        Ok(account)
    }

    /// Processes a request and answers it.
    pub(crate) fn answer(&mut self, call: &Call, now: u64) -> Answer {
        self.act(call, now).unwrap_or_else(|error| error.into_answer(self.switches.details_key))
    }

    fn act(&mut self, call: &Call, now: u64) -> Result<Answer, ApiError> {
        let route = Route::of(&call.method, &call.path);
        match route {
            Route::Issue => {
                self.admit(now)?;
                self.issue(&call.json()?, now)
            }
            Route::Refresh => {
                self.admit(now)?;
                let body: RefreshBody = call.json()?;
                self.refresh(call.bearer(), &body.refresh_token, now)
            }
            Route::Wallet => self.authorize(call.bearer(), now).map(|_| Answer::ok(deals::wallet())),
            Route::Deal => self.authorize(call.bearer(), now).and_then(|_| deals::deal(&call.path, now)),
            Route::Fx => self.authorize(call.bearer(), now).and_then(|_| deals::quote(&call.query, now)),
            Route::Payin => {
                let account = self.authorize(call.bearer(), now)?.to_owned();
                self.payin(account, &call.json()?)
            }
            Route::Other | Route::Any => Err(ApiError::not_found()),
        }
    }

    /// Applies the rate limit to a call of an auth route.
    fn admit(&mut self, now: u64) -> Result<(), ApiError> {
        let Some(RateLimit { requests, per_s, retry_after }) = self.switches.rate_limit else {
            return Ok(());
        };
        while self.admitted.front().is_some_and(|then| then.saturating_add(per_s.saturating_mul(1000)) <= now)
        {
            self.admitted.pop_front();
        }
        if self.admitted.len() < requests {
            self.admitted.push_back(now);
            return Ok(());
        }
        Err(ApiError::too_many_requests(retry_after.map(|form| match form {
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Date { date } => deals::http_date((now / 1000).saturating_add(date)),
        })))
    }

    fn issue(&mut self, body: &IssueBody, now: u64) -> Result<Answer, ApiError> {
        let account = self.accounts.get(&body.account_id);
        if account.is_none_or(|account| account.public_key != body.public_key) {
            return Err(ApiError::credentials_not_found());
        }
        if self.switches.second_issue_kills_first {
            let earlier = self.families.iter_mut().filter(|family| family.account == body.account_id);
            earlier.for_each(|family| family.revoked = true);
        }
        self.families.push(Family {
            account: body.account_id.clone(),
            revoked: false,
            pairs: 0,
            first_live_pair: 0,
        });
        self.totals.issued += 1;
        let family = self.families.len() - 1;
        let access_token = self.new_access_token(family, now);
        let refresh_token =
            self.switches.issue_returns_refresh_token.then(|| self.new_refresh_token(family, now));
        Ok(self.pair(access_token, refresh_token))
    }

    fn refresh(&mut self, bearer: Option<&str>, token: &str, now: u64) -> Result<Answer, ApiError> {
        let refused = |reason| Err(ApiError::refresh_refused(self.switches.refused_status, reason));
        let Some(Refresh { family, expires, first_used }) = self.refresh.get(token) else {
            return refused("unknown");
        };
        let (family, expires, first_used) = (*family, *expires, *first_used);
        if !self.bearer_suits(bearer, family, now) {
            return refused("bearer");
        }
        if self.families[family].revoked {
            return refused("revoked");
        }
        if expires <= now {
            return refused("expired");
        }
        if first_used.is_some_and(|then| !self.works_again(then, now)) {
            let refusal = refused("reused");
            self.families[family].revoked |= self.switches.reuse_revokes_family;
            return refusal;
        }
        if let Some(known) = self.refresh.get_mut(token) {
            known.first_used.get_or_insert(now);
        }
        if self.switches.old_access_dies_on_refresh {
            self.families[family].first_live_pair = self.families[family].pairs;
        }
        self.totals.refreshed += 1;
        let access_token = self.new_access_token(family, now);
        let refresh_token = match self.switches.rotation {
            _ if !self.switches.refresh_returns_refresh_token => None,
            Rotation::Static => Some(token.to_owned()),
            Rotation::SingleUse | Rotation::Window(_) => Some(self.new_refresh_token(family, now)),
        };
        Ok(self.pair(access_token, refresh_token))
    }

    fn works_again(&self, first_used: u64, now: u64) -> bool {
        match self.switches.rotation {
            Rotation::SingleUse => false,
            Rotation::Static => true,
            Rotation::Window(seconds) => now < first_used.saturating_add(seconds.saturating_mul(1000)),
        }
    }

    fn bearer_suits(&self, bearer: Option<&str>, family: usize, now: u64) -> bool {
        let same_family =
            || bearer.and_then(|token| self.access.get(token)).is_some_and(|a| a.family == family);
        match self.switches.bearer_on_refresh {
            BearerOnRefresh::Ignored => true,
            BearerOnRefresh::Required => same_family(),
            BearerOnRefresh::Unexpired => same_family() && self.authorize(bearer, now).is_ok(),
        }
    }

    /// The account of an access token.
    fn authorize(&self, bearer: Option<&str>, now: u64) -> Result<&str, ApiError> {
        let access = bearer.and_then(|token| self.access.get(token)).ok_or_else(ApiError::unauthorized)?;
        let family = &self.families[access.family];
        let alive = !access.revoked
            && !family.revoked
            && access.pair >= family.first_live_pair
            && now < access.expires;
        if alive { Ok(&family.account) } else { Err(ApiError::unauthorized()) }
    }

    fn payin(&mut self, account: String, body: &Value) -> Result<Answer, ApiError> {
        let invoice = body["invoiceId"].as_str().map(|invoice| (account, invoice.to_owned()));
        if let Some(known) = invoice.as_ref().and_then(|invoice| self.payins.get(invoice)) {
            self.totals.duplicate_payins += 1;
            return Ok(Answer::ok(known.clone()));
        }
        let payin = deals::payin(body)?;
        self.totals.payins += 1;
        if let Some(invoice) = invoice {
            self.payins.insert(invoice, payin.clone());
        }
        Ok(Answer::ok(payin))
    }

    /// Revokes tokens; an unknown token is not an error.
    pub(crate) fn revoke(&mut self, whose: &Revoke) {
        match whose {
            Revoke::AccessToken(token) => {
                if let Some(access) = self.access.get_mut(token) {
                    access.revoked = true;
                }
            }
            Revoke::RefreshToken(token) => {
                if let Some(refresh) = self.refresh.get(token) {
                    self.families[refresh.family].revoked = true;
                }
            }
            Revoke::All(really) => {
                self.families.iter_mut().for_each(|family| family.revoked |= really);
            }
        }
    }

    fn new_access_token(&mut self, family: usize, now: u64) -> String {
        let Family { account, pairs, .. } = &mut self.families[family];
        let token = self.signer.access_token(&self.switches, account, now);
        let expires = now.saturating_add(self.switches.access_lifetime_s.saturating_mul(1000));
        self.access.insert(token.clone(), Access { family, pair: *pairs, expires, revoked: false });
        *pairs += 1;
        token
    }

    fn new_refresh_token(&mut self, family: usize, now: u64) -> String {
        let token = random_text();
        let expires = now.saturating_add(self.switches.refresh_lifetime_s.saturating_mul(1000));
        self.refresh.insert(token.clone(), Refresh { family, expires, first_used: None });
        token
    }

    fn pair(&self, access_token: String, refresh_token: Option<String>) -> Answer {
        let mut body = json!({ "access_token": access_token });
        if let Some(refresh_token) = refresh_token {
            body["refresh_token"] = json!(refresh_token);
        }
        let lifetime = self.switches.access_lifetime_s;
        let expires_in = match self.switches.expires_in_form {
            ExpiresInForm::Absent => return Answer::ok(body),
            ExpiresInForm::Number => json!(lifetime),
            ExpiresInForm::String => json!(lifetime.to_string()),
            ExpiresInForm::Float => json!(lifetime as f64),
            ExpiresInForm::FloatString => json!(format!("{lifetime}.0")),
            ExpiresInForm::Negative => json!(-i128::from(lifetime)),
            ExpiresInForm::Text => json!("an hour"),
        };
        body["expires_in"] = expires_in;
        Answer::ok(body)
    }
}

#[cfg(test)]
mod tests;
