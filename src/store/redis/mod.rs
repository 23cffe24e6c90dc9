//! A store on a Redis or Valkey server: two keys per account, changed by scripts that compare before they write.

mod address;
mod bounded;
mod server;

use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use super::Storing;
use super::leased::{Acquired, Backend, LeaseView, RecordWrite, new_owner};
use super::record::RecordKey;
use crate::error::Error;
use crate::secret::Wiped;

pub use address::Address;
pub(crate) use server::{RedisServers, Server};

/// One account's record on a server. The part of each name in braces keeps the keys on one node of a cluster.
pub(super) struct RedisBackend {
    server: Arc<Server>,
    /// A hash with the fence token, the generation, the record, and the newest broken record, if there is one.
    session: String,
    /// Holds the owner of the lease, and expires with the lease.
    lock: String,
    /// The channel on which commits and freed leases are published.
    channel: String,
    /// A name that no other session has, in this process or another.
    owner: String,
    is_sealed: bool,
}

impl RedisBackend {
    pub(super) fn new(server: Arc<Server>, key: &RecordKey, is_sealed: bool) -> Result<Self, Error> {
        let name = key.name();
        Ok(RedisBackend {
            server,
            session: format!("pg:{{{name}}}:session"),
            lock: format!("pg:{{{name}}}:lock"),
            channel: format!("pg:{{{name}}}:news"),
            owner: new_owner()?,
            is_sealed,
        })
    }

    /// A script on both keys, called by the owner of the lease.
    fn script(&self, text: &str, lease: Duration) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(text).arg(2).arg(&self.session).arg(&self.lock);
        command.arg(&self.owner).arg(millis(lease));
        command
    }

    async fn acquire_lease(&self, lease: Duration, known: u64) -> Result<Acquired, Error> {
        let mut command = self.script(include_str!("acquire.lua"), lease);
        command.arg(known);
        let (state, view) = self.query_view(command).await?;
        Ok(match &*state {
            "held" => Acquired::Held(view),
            "moved" => Acquired::Busy(Some(view)),
            _ => Acquired::Busy(None),
        })
    }

    /// Runs a script that returns a state, the server's time, the fence token and the record.
    async fn query_view(&self, command: Cmd) -> Result<(String, LeaseView), Error> {
        let (state, time, version, record): (String, u64, u64, Vec<u8>) = self.server.query(command).await?;
        let record = Some(Wiped::new(record)).filter(|record| !record.is_empty());
        let wall = Some(Duration::from_millis(time));
        Ok((state.clone(), LeaseView { is_held: state == "held", version, record, wall }))
    }
}

impl Backend for RedisBackend {
    fn acquire(&self, lease: Duration, known: u64) -> Storing<'_, Acquired> {
        Box::pin(self.acquire_lease(lease, known))
    }

    fn load(&self, lease: Duration) -> Storing<'_, LeaseView> {
        let command = self.script(include_str!("load.lua"), lease);
        Box::pin(async move { self.query_view(command).await.map(|(_, view)| view) })
    }

    fn write<'a>(&'a self, lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool> {
        let mut command = self.script(include_str!("write.lua"), lease);
        command
            .arg(version)
            .arg(version.saturating_add(1))
            .arg(write.generation)
            .arg(write.record.as_slice());
        command.arg(if write.frees_lease { "free" } else { "keep" });
        command.arg(if write.keeps_broken { "aside" } else { "" }).arg(&self.channel);
        Box::pin(async move { self.server.write(command).await })
    }

    fn renew(&self, lease: Duration, version: u64) -> Storing<'_, bool> {
        let mut command = self.script(include_str!("renew.lua"), lease);
        command.arg(version);
        Box::pin(async move { self.server.query(command).await })
    }

    fn release(&self) -> Storing<'_, ()> {
        let mut command = redis::cmd("EVAL");
        command.arg(include_str!("release.lua")).arg(1).arg(&self.lock).arg(&self.owner).arg(&self.channel);
        Box::pin(async move { self.server.query(command).await })
    }

    fn wait_for_change(&self, most: Duration) -> Storing<'_, ()> {
        Box::pin(async move {
            self.server.listen(&self.channel, most).await;
            Ok(())
        })
    }

    fn warning(&self) -> Option<String> {
        (!self.is_sealed).then(|| {
            format!(
                "store {}: tokens are not sealed there, and everybody who can read the server or its backups can read \
                 them; set store_key",
                self.server.address()
            )
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::server::redis_server::RedisServer;
    use super::*;
    use crate::clock::SystemClock;
    use crate::runtime::run;
    use crate::transport::{TlsOptions, TlsSettings};

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn the_server_says_who_has_the_lease_and_whether_there_is_a_newer_record() {
        let redis = RedisServer::start(&[]);
        let tls = Arc::new(TlsSettings::load(&TlsOptions::default()).unwrap());
        let servers = RedisServers::new(tls, Arc::new(SystemClock));
        let server = servers.at(&Address::parse(&redis.url()).unwrap()).unwrap();
        let key = RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "public key");
        let [ours, theirs] = [(); 2].map(|()| RedisBackend::new(server.clone(), &key, false).unwrap());
        let asking = async move {
            let Acquired::Held(view) = ours.acquire(LEASE, 0).await.unwrap() else { panic!("it is free") };
            assert!(view.is_held && view.record.is_none() && view.version > 0);
            let record = Wiped::new(b"record".to_vec());
            let write =
                RecordWrite { record: &record, generation: 5, frees_lease: false, keeps_broken: false };
            assert!(ours.write(LEASE, view.version, write).await.unwrap());
            for (known, is_newer) in [(4, true), (5, false)] {
                let Acquired::Busy(found) = theirs.acquire(LEASE, known).await.unwrap() else {
                    panic!("two have the lease")
                };
                let found = found.map(|view| (view.is_held, view.record.unwrap().to_vec()));
                assert_eq!(found, is_newer.then(|| (false, b"record".to_vec())), "{known}");
            }
            assert!(ours.load(LEASE).await.unwrap().is_held && !theirs.load(LEASE).await.unwrap().is_held);
        };
        run(asking, LEASE).unwrap().unwrap();
    }
}
