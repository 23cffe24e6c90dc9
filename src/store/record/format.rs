//! The payload of a record as bytes; docs/record-format.md describes the format.

use std::time::Duration;

use super::stamp::Stamp;
use crate::clock::{BootId, Moment};
use crate::secret::{Secret, Wiped};
use crate::status::Status;
use crate::token::is_access_token;

/// Room for everything except the texts.
const FIXED_ROOM: usize = 256;

/// The payload. Its generation is in the envelope.
#[derive(Debug)]
pub(in crate::store) struct Record {
    /// The access token of the newest pair. There may be none yet, if a refusal came before the first pair.
    pub(in crate::store) access: Option<Access>,
    pub(in crate::store) refresh: Refresh,
    pub(in crate::store) back_off: Option<BackOff>,
}

#[derive(Debug)]
pub(in crate::store) struct Access {
    pub(in crate::store) secret: Secret,
    pub(in crate::store) length: Duration,
    pub(in crate::store) anchor: Stamp,
    /// How many tokens in a row before this one the service refused soon after it had issued them.
    pub(in crate::store) refused_young: u32,
}

/// The refresh token. A flight that takes it leaves an intent in its place, so that a record never offers a token
/// twice.
#[derive(Debug)]
pub(in crate::store) enum Refresh {
    None,
    Available(Secret),
    Claimed(Intent),
}

impl Refresh {
    pub(in crate::store) fn available(&self) -> Option<&Secret> {
        if let Refresh::Available(secret) = self { Some(secret) } else { None }
    }
}

/// A session was about to present the refresh token.
#[derive(Debug)]
pub(in crate::store) struct Intent {
    /// The token's fingerprint.
    pub(in crate::store) refresh: [u8; 16],
    /// The process that took the token. Within one boot, no two processes have one id at the same time.
    pub(in crate::store) pid: u32,
    pub(in crate::store) since: Stamp,
}

/// A refusal by the service.
#[derive(Debug)]
pub(in crate::store) struct BackOff {
    pub(in crate::store) strikes: u32,
    pub(in crate::store) until: Stamp,
    pub(in crate::store) status: Status,
    pub(in crate::store) http_status: Option<u16>,
    pub(in crate::store) code: Option<String>,
}

impl Record {
    pub(in crate::store) fn encode(&self) -> Wiped<Vec<u8>> {
        let text = |secret: &Secret| secret.expose().len();
        let access = self.access.as_ref().map_or(0, |access| text(&access.secret));
        let refresh = if let Refresh::Available(secret) = &self.refresh { text(secret) } else { 0 };
        let code = self.back_off.as_ref().and_then(|back_off| back_off.code.as_ref()).map_or(0, String::len);
        // One allocation of the final size: a buffer that grows leaves copies behind.
        let mut to = Writer(Wiped::new(Vec::with_capacity(FIXED_ROOM + access + refresh + code)));
        match &self.access {
            None => to.byte(0),
            Some(Access { secret, length, anchor, refused_young }) => {
                to.byte(if *refused_young == 0 { 1 } else { 2 });
                to.text(secret.expose());
                to.duration(*length);
                to.stamp(anchor);
                if *refused_young > 0 {
                    to.bytes(&refused_young.to_be_bytes());
                }
            }
        }
        match &self.refresh {
            Refresh::None => to.byte(0),
            Refresh::Available(secret) => {
                to.byte(1);
                to.text(secret.expose());
            }
            Refresh::Claimed(intent) => {
                to.byte(2);
                to.bytes(&intent.refresh);
                to.bytes(&intent.pid.to_be_bytes());
                to.stamp(&intent.since);
            }
        }
        to.byte(self.back_off.is_some().into());
        if let Some(back_off) = &self.back_off {
            to.bytes(&back_off.strikes.to_be_bytes());
            to.stamp(&back_off.until);
            to.bytes(&(back_off.status as i32).to_be_bytes());
            to.bytes(&back_off.http_status.unwrap_or(0).to_be_bytes());
            to.text(back_off.code.as_deref().unwrap_or(""));
        }
        to.0
    }

    /// `None`: the bytes are not a payload.
    pub(in crate::store) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let access = match from.byte()? {
            0 => None,
            form @ (1 | 2) => Some(Access {
                secret: from.secret().filter(is_access_token)?,
                length: from.duration()?,
                anchor: from.stamp()?,
                refused_young: if form == 1 { 0 } else { u32::from_be_bytes(from.array()?) },
            }),
            _ => return None,
        };
        let refresh = match from.byte()? {
            0 => Refresh::None,
            1 => Refresh::Available(from.secret()?),
            2 => Refresh::Claimed(Intent {
                refresh: from.array()?,
                pid: u32::from_be_bytes(from.array()?),
                since: from.stamp()?,
            }),
            _ => return None,
        };
        let back_off = match from.byte()? {
            0 => None,
            1 => Some(BackOff {
                strikes: u32::from_be_bytes(from.array()?),
                until: from.stamp()?,
                status: from.status()?,
                http_status: Some(u16::from_be_bytes(from.array()?)).filter(|status| *status != 0),
                code: Some(from.text()?.to_owned()).filter(|code| !code.is_empty()),
            }),
            _ => return None,
        };
        from.0.is_empty().then_some(Record { access, refresh, back_off })
    }
}

struct Writer(Wiped<Vec<u8>>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_be_bytes());
        self.bytes(text.as_bytes());
    }

    /// In nanoseconds: 64 bits of them are 584 years.
    fn duration(&mut self, duration: Duration) {
        self.bytes(&u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).to_be_bytes());
    }

    /// The boot id is zero if the machine does not provide one.
    fn stamp(&mut self, stamp: &Stamp) {
        self.bytes(&stamp.boot_id.unwrap_or(BootId([0; 16])).0);
        self.duration(stamp.at.boot);
        self.duration(stamp.at.wall);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u64::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(length.try_into().ok()?)?).ok()
    }

    fn secret(&mut self) -> Option<Secret> {
        Secret::new(self.text()?)
    }

    fn duration(&mut self) -> Option<Duration> {
        Some(Duration::from_nanos(u64::from_be_bytes(self.array()?)))
    }

    fn stamp(&mut self) -> Option<Stamp> {
        let boot_id = Some(BootId(self.array()?)).filter(|id| *id != BootId([0; 16]));
        Some(Stamp { boot_id, at: Moment { boot: self.duration()?, wall: self.duration()? } })
    }

    /// A status that only a later version of the library knows still counts as a refusal, and so does PG_OK: an error
    /// with it would be a success without a token.
    fn status(&mut self) -> Option<Status> {
        let number = i32::from_be_bytes(self.array()?);
        let mut refusals = Status::ALL.iter().filter(|status| **status != Status::PG_OK);
        let known = refusals.find(|status| **status as i32 == number);
        Some(known.copied().unwrap_or(Status::PG_ERR_REFUSED))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) fn stamp(milliseconds: u64) -> Stamp {
        let at =
            Moment { boot: Duration::from_millis(milliseconds), wall: Duration::from_secs(1_700_000_000) };
        Stamp { boot_id: Some(BootId([7; 16])), at }
    }

    /// Records of every shape.
    pub(in crate::store) fn records() -> Vec<Record> {
        let access = |refused_young| {
            let secret = Secret::new("an-access-token").unwrap();
            Some(Access { secret, length: Duration::from_secs(3600), anchor: stamp(5), refused_young })
        };
        let kept = Refresh::Available(Secret::new("ein Schlüssel").unwrap());
        let intent = Intent { refresh: *b"0123456789abcdef", pid: 4711, since: stamp(9) };
        let back_off = || BackOff {
            strikes: 2,
            until: stamp(700),
            status: Status::PG_ERR_REFUSED,
            http_status: Some(401),
            code: Some("ERROR_CREDENTIALS_NOT_FOUND".into()),
        };
        let nameless = Stamp { boot_id: None, ..stamp(1) };
        let bare = BackOff { until: nameless, http_status: None, code: None, ..back_off() };
        vec![
            Record { access: None, refresh: Refresh::None, back_off: None },
            Record { access: access(0), refresh: kept, back_off: None },
            Record { access: access(3), refresh: Refresh::Claimed(intent), back_off: Some(bare) },
            Record { access: None, refresh: Refresh::None, back_off: Some(back_off()) },
        ]
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in records() {
            let read = Record::decode(&record.encode()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{record:?}"));
            assert_eq!(read.encode(), record.encode());
        }
    }

    /// docs/record-format.md, in bytes: other versions write and read the same.
    #[test]
    fn the_bytes_are_those_of_the_document() {
        let stamp = |id: u8, boot: u64| {
            let times = [boot * 1_000_000, 1_700_000_000_000_000_000].map(u64::to_be_bytes);
            [&[id; 16][..], &times.concat()].concat()
        };
        let access = [
            b"\x02\0\0\0\0\0\0\0\x0fan-access-token",
            &3_600_000_000_000u64.to_be_bytes()[..],
            &stamp(7, 5),
            b"\0\0\0\x03",
        ];
        let claimed = [b"\x020123456789abcdef\0\0\x12\x67", &stamp(7, 9)[..]];
        let back_off = [b"\x01\0\0\0\x02", &stamp(0, 1)[..], b"\0\0\x01\x2c\0\0\0\0\0\0\0\0\0\0"];
        let expected = [access.concat(), claimed.concat(), back_off.concat()].concat();
        assert_eq!(*records()[2].encode(), expected);
    }

    /// Others may be able to write to the store, and a program puts the token into a header.
    #[test]
    fn a_token_that_a_header_cannot_carry_makes_no_record() {
        for text in ["a token", "token\r\nx-user: other", "schlüssel"] {
            let secret = Secret::new(text).unwrap();
            let access =
                Access { secret, length: Duration::from_secs(3600), anchor: stamp(5), refused_young: 0 };
            let record = Record { access: Some(access), refresh: Refresh::None, back_off: None };
            assert!(Record::decode(&record.encode()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn an_obstacle_is_a_failure_whatever_its_number_is() {
        for number in [Status::PG_OK as i32, 4711, -1] {
            let start = [&b"\0\0\x01\0\0\0\x01"[..], &[0; 32], &number.to_be_bytes()];
            let bytes = [&start.concat()[..], &[0; 10]].concat();
            let back_off = Record::decode(&bytes).unwrap().back_off.unwrap();
            assert_eq!(back_off.status, Status::PG_ERR_REFUSED, "{number}");
        }
    }

    #[test]
    fn a_record_that_is_cut_or_too_long_is_refused() {
        for record in records() {
            let bytes = record.encode();
            for cut in 0..bytes.len() {
                assert!(Record::decode(&bytes[..cut]).is_none(), "cut at {cut}");
            }
            assert!(Record::decode(&[&**bytes, b"\0"].concat()).is_none());
        }
    }
}
