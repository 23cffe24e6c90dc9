//! Figures, not rules: how long an outage lasts after revocations in a row, and after the death of a process that was
//! obtaining the first pair. Only bounds that follow from the rules are asserted.
//! `cargo test --test explorer figures -- --nocapture`

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use pg_sandbox::{Action, Fault, Options, Point, Revoke, Route, Sandbox, Switches};

use super::World;
use crate::clock::now;
use crate::history::History;
use crate::incidents::StoreKind;

/// The most that a busy machine adds.
const NOISE: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// The time until a request succeeds after each revocation, which comes as soon as the token works.
fn outages(lifetime: u64, revocations: usize) -> Vec<Duration> {
    let switches = Switches { access_lifetime_s: lifetime, ..Switches::default() };
    let sandbox = Sandbox::start(Options { switches, ..Options::default() }).unwrap();
    let address = sandbox.address();
    let mut config = Config::default();
    for (name, value) in [
        ("base_url", &*sandbox.urls().https),
        ("tls.ca_file", &*address.ca_file.display().to_string()),
        ("tls.system_roots", "false"),
        ("account_id", &*address.account_id),
        ("public_key", &*address.public_key),
    ] {
        config.set(name, value).unwrap();
    }
    let clock = Arc::new(SystemClock);
    let url = sandbox.urls().https.parse().unwrap();
    let transport = config.transport(url, clock.clone()).unwrap();
    let client = Client::with_parts(&config, Box::new(transport), clock).unwrap();
    let session = Session::open(&client, &config).unwrap();
    let succeeds = || {
        let wallet = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
        session.request(wallet, None).is_ok_and(|response| response.status == 200)
    };
    let until_success = || {
        let begun = Instant::now();
        while !succeeds() {
            thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    };
    until_success();
    let revoked = |_| {
        sandbox.revoke(&Revoke::All(true));
        until_success()
    };
    (0..revocations).map(revoked).collect()
}

/// The time from the kill of a process during the first Issue until a call of a second process succeeds.
fn takeover(store: StoreKind) -> Duration {
    let history = History {
        store,
        processes: 1,
        switches: Switches::default(),
        settings: Vec::new(),
        is_warm: false,
        rounds: Vec::new(),
        incidents: Vec::new(),
        ..History::drawn(0)
    };
    let slow = || Fault::new(Route::Issue, Action::Delay { ms: 20_000 }).at(Point::Before);
    let mut world = World::new(&history);
    world.sandbox.inject(slow()).unwrap();
    let wait_for = |what: &dyn Fn(&World) -> bool, world: &World| {
        while !what(world) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let has_read = |world: &World| world.sandbox.counters().route(Route::Issue).last.is_some();
    wait_for(&has_read, &world);
    let second = world.start(1);
    let agent = second.agent.clone();
    world.users.push(second);
    let waits = |world: &World| world.told.lock().unwrap().open.iter().any(|(whose, _)| *whose == agent);
    wait_for(&waits, &world);
    world.users[0].kill();
    let killed = now();
    let first_good = |world: &World| {
        let told = world.told.lock().unwrap();
        told.calls.iter().filter(|call| call.agent == agent && call.is_good()).map(|call| call.to).min()
    };
    wait_for(&|world| first_good(world).is_some(), &world);
    first_good(&world).unwrap() - killed
}

#[test]
fn outage_durations_are_printed() {
    let _turn = crate::explore::turn();
    thread::scope(|scope| {
        for lifetime in [20, 3600] {
            scope.spawn(move || {
                let outages = outages(lifetime, 10);
                for row in [2, 3, 10] {
                    let longest = outages[..row].iter().max().unwrap();
                    println!("figures: tokens of {lifetime} s, {row} revocations in a row: longest outage {longest:?}");
                }
                // The first revocation finds an old token or starts a row; the others follow the first pause of the row.
                assert!(outages.iter().all(|outage| *outage < SECOND.mul_f64(1.25) + NOISE), "{outages:?}");
            });
        }
        for (store, most) in [(StoreKind::File, SECOND), (StoreKind::Redis, 6 * SECOND)] {
            scope.spawn(move || {
                let took = takeover(store);
                println!(
                    "figures: {store:?}: a killed holder of the first Issue delays the next process by {took:?}"
                );
                assert!(took < most + NOISE, "{store:?}: {took:?}");
            });
        }
    });
}
