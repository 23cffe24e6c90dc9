//! Turns bytes into calls of the C interface. A thread owns the tokens, events, answers and errors that it gets.

use std::ffi::c_char;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use paymentsgate_auth::event::EventKind;
use paymentsgate_auth::ffi::*;
use paymentsgate_auth::{Grant, Status};

use super::super::input::Input;
use super::super::scripted::{ACCESS, PUBLIC_KEY, REFRESH};
use super::owner::{Owner, borrowed, c_text, check_error, checked, found, produced};

/// What all threads use.
pub struct Shared {
    pub client: Owner<pg_client>,
    pub session: Option<Owner<pg_session>>,
    pub queue: Owner<pg_queue>,
}

impl Shared {
    fn session(&self) -> Option<&pg_session> {
        self.session.as_ref().and_then(Owner::get)
    }

    /// Frees everything, in an order that the fuzzer chooses.
    pub fn free(self, order: u8) {
        let Shared { client, session, queue } = self;
        match order % 3 {
            0 => drop((client, session, queue)),
            1 => drop((queue, client, session)),
            _ => drop((session, queue, client)),
        }
    }
}

/// What one thread owns.
#[derive(Default)]
struct Things {
    tokens: Vec<Owner<Grant>>,
    events: Vec<Owner<pg_event>>,
    responses: Vec<Owner<pg_response>>,
    errors: Vec<Owner<pg_error>>,
    sessions: Vec<Owner<pg_session>>,
}

impl Things {
    fn keep<T>(
        kept: &mut Vec<Owner<T>>,
        errors: &mut Vec<Owner<pg_error>>,
        result: Result<Owner<T>, Owner<pg_error>>,
    ) {
        match result {
            Ok(object) => kept.push(object),
            Err(error) => errors.push(error),
        }
    }

    fn done(&mut self, result: Result<(), Owner<pg_error>>) {
        self.errors.extend(result.err());
    }
}

pub fn play(script: &[u8], shared: &Shared) {
    let mut input = Input::new(script);
    let mut things = Things::default();
    while !input.is_empty() {
        // SAFETY: the objects are alive, texts and buffers are valid for the call.
        unsafe { step(&mut input, shared, &mut things) };
    }
}

const TIMEOUTS: [i64; 6] = [0, 1, 2, 5, -1, -7];

unsafe fn step(input: &mut Input<'_>, shared: &Shared, things: &mut Things) {
    let (client, session, queue) = (shared.client.get(), shared.session(), shared.queue.get());
    let kind = input.byte() % 32;
    let argument = input.byte();
    // No call waits for its default, which is seconds.
    let patience = TIMEOUTS[usize::from(argument) % 4];
    let any_timeout = TIMEOUTS[usize::from(argument) % 6];
    let id = u64::from(argument % 4);
    let Things { tokens, errors, events, responses, sessions } = things;
    let token = tokens.get(usize::from(argument) % tokens.len().max(1)).and_then(Owner::get);
    // SAFETY: the caller's promise, for all calls below.
    unsafe {
        match kind {
            0 => Things::keep(
                tokens,
                errors,
                produced(pg_token_free, |out, error| pg_session_token(session, patience, out, error)),
            ),
            1 => Things::keep(
                tokens,
                errors,
                produced(pg_token_free, |out, error| {
                    pg_session_token_lasting(session, any_timeout * 1000, patience, out, error)
                }),
            ),
            2 => copy_token(session, patience, argument, errors),
            3 => {
                let word = pg_session_generation_word(session);
                if let Some(word) = word.cast::<AtomicU64>().as_ref() {
                    word.load(Ordering::Acquire);
                }
            }
            4 => things
                .done(checked(|error| pg_session_token_start(session, queue, id, 0, any_timeout, error))),
            5 => Things::keep(
                tokens,
                errors,
                produced(pg_token_free, |out, error| pg_session_refresh(session, patience, out, error)),
            ),
            6 => {
                things.done(checked(|error| pg_session_refresh_start(session, queue, id, any_timeout, error)))
            }
            7 => things.done(checked(|error| {
                pg_session_subscribe(session, queue, id, i32::from(argument % 7) - 1, error)
            })),
            8 => {
                let result =
                    checked(|error| pg_session_reject(session, token, 399 + i32::from(argument % 4), error));
                things.done(result);
            }
            9 => {
                let account = c_text(["account-1", "account-2", ""][usize::from(argument) % 3]);
                let key = c_text([PUBLIC_KEY, "no key"][usize::from(argument) % 2]);
                things.done(checked(|error| {
                    pg_session_set_credentials(session, account.as_ptr(), key.as_ptr(), error)
                }));
            }
            10 => text(errors, |out, error| pg_session_health(session, out, error)),
            11 => things.done(checked(|error| pg_session_close(session, patience, error))),
            12 => {
                let more = shared.session.as_ref().map_or(ptr::null_mut(), Owner::pointer);
                let more = pg_session_ref(more);
                sessions.extend((!more.is_null()).then(|| Owner::new(more, pg_session_free)));
            }
            13 | 14 => {
                let polled = found(pg_event_free, |out, error| pg_queue_poll(queue, patience, out, error));
                match polled {
                    Ok(event) => {
                        event.iter().for_each(|event| check_event(event.get()));
                        events.extend(event);
                    }
                    Err(error) => errors.push(error),
                }
            }
            15 => things.done(checked(|error| pg_queue_cancel(queue, id, error))),
            16 => {
                let mut descriptor = -7;
                let result = checked(|error| pg_queue_fd(queue, Some(&mut descriptor), error));
                assert_eq!(result.is_ok(), descriptor >= 0);
                things.done(result);
            }
            17 => {
                let (account, key) = (c_text("account-1"), c_text(PUBLIC_KEY));
                Things::keep(
                    tokens,
                    errors,
                    produced(pg_token_free, |out, error| match argument % 3 {
                        0 => pg_issue_token(client, account.as_ptr(), key.as_ptr(), patience, out, error),
                        1 => pg_issue_token(client, ptr::null(), ptr::null(), patience, out, error),
                        _ => pg_issue_token_sized(
                            client,
                            account.as_ptr(),
                            9,
                            key.as_ptr(),
                            PUBLIC_KEY.len(),
                            patience,
                            out,
                            error,
                        ),
                    }),
                );
            }
            18 => {
                let (access, refresh) = (c_text(ACCESS), c_text(REFRESH));
                Things::keep(
                    tokens,
                    errors,
                    produced(pg_token_free, |out, error| match argument % 3 {
                        0 => {
                            pg_refresh_token(client, access.as_ptr(), refresh.as_ptr(), patience, out, error)
                        }
                        1 => pg_refresh_token(client, ptr::null(), refresh.as_ptr(), any_timeout, out, error),
                        _ => pg_refresh_token_sized(
                            client,
                            access.as_ptr(),
                            5,
                            refresh.as_ptr(),
                            7,
                            patience,
                            out,
                            error,
                        ),
                    }),
                );
            }
            19 => things.done(checked(|error| {
                pg_issue_token_start(client, queue, id, ptr::null(), ptr::null(), any_timeout, error)
            })),
            20 => {
                let refresh = c_text(REFRESH);
                things.done(checked(|error| {
                    pg_refresh_token_start(
                        client,
                        queue,
                        id,
                        ptr::null(),
                        refresh.as_ptr(),
                        any_timeout,
                        error,
                    )
                }));
            }
            21 | 22 => request(shared, argument, things),
            23 => text(errors, |out, error| pg_client_metrics(client, out, error)),
            24 => {
                check_token(token);
                let more = pg_token_ref(token.map_or(ptr::null(), ptr::from_ref));
                tokens.extend((!more.is_null()).then(|| Owner::new(more, pg_token_free)));
            }
            25 => errors.iter().for_each(|error| check_error(error.get())),
            26 => responses.iter().for_each(|response| check_response(response.get())),
            27 => nothing(argument),
            28 => drop(take(tokens, argument)),
            29 => drop((take(events, argument), take(errors, argument))),
            30 => drop((take(responses, argument), take(sessions, argument))),
            _ => settings(argument, errors),
        }
    }
}

fn take<T>(from: &mut Vec<T>, at: u8) -> Option<T> {
    let length = from.len();
    (length > 0).then(|| from.swap_remove(usize::from(at) % length))
}

type Out<'a, T> = Option<&'a mut std::mem::MaybeUninit<*mut T>>;

/// A call that gives a text of its own.
fn text(errors: &mut Vec<Owner<pg_error>>, call: impl FnOnce(Out<'_, c_char>, Out<'_, pg_error>) -> Status) {
    match produced(pg_text_free, call) {
        Ok(text) => {
            let text = borrowed(text.pointer()).unwrap();
            assert!(
                !text.is_empty() && ![ACCESS, REFRESH, PUBLIC_KEY].iter().any(|secret| text.contains(secret))
            );
        }
        Err(error) => errors.push(error),
    }
}

unsafe fn copy_token(
    session: Option<&pg_session>,
    patience: i64,
    room: u8,
    errors: &mut Vec<Owner<pg_error>>,
) {
    let mut buffer = vec![0x55_u8; usize::from(room % 32)];
    let mut length = usize::MAX;
    let result = checked(|error| {
        // SAFETY: the buffer has as many bytes as are said.
        unsafe {
            pg_session_copy_access_token(
                session,
                patience,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                Some(&mut length),
                error,
            )
        }
    });
    if result.is_ok() {
        assert!(length > 0 && length < buffer.len() && buffer[length] == 0 && !buffer[..length].contains(&0));
    }
    errors.extend(result.err());
}

unsafe fn request(shared: &Shared, argument: u8, things: &mut Things) {
    let (method, path) = (c_text(["GET", "POST", "get"][usize::from(argument) % 3]), c_text("/wallet?a=1"));
    let (name, value) = (c_text("X-Request-Id"), c_text("7"));
    let headers = [name.as_ptr(), value.as_ptr(), ptr::null()];
    let body = b"{}";
    let patience = TIMEOUTS[usize::from(argument) % 4];
    // SAFETY: the texts, the array and the body are valid for the call.
    unsafe {
        if argument & 0x80 == 0 {
            let result = produced(pg_response_free, |out, error| {
                pg_session_request(
                    shared.session(),
                    method.as_ptr(),
                    path.as_ptr(),
                    headers.as_ptr(),
                    body.as_ptr(),
                    2,
                    patience,
                    out,
                    error,
                )
            });
            Things::keep(&mut things.responses, &mut things.errors, result);
        } else {
            let id = u64::from(argument % 4);
            things.done(checked(|error| {
                pg_session_request_start(
                    shared.session(),
                    shared.queue.get(),
                    id,
                    method.as_ptr(),
                    path.as_ptr(),
                    ptr::null(),
                    ptr::null(),
                    0,
                    patience,
                    error,
                )
            }));
        }
    }
}

fn check_token(token: Option<&Grant>) {
    // SAFETY: the token is valid, or NULL.
    unsafe {
        let access = borrowed(pg_token_access_token(token));
        assert_eq!(access.as_ref().map_or(0, String::len), pg_token_access_token_length(token));
        let refresh = borrowed(pg_token_refresh_token(token));
        assert_eq!(refresh.map_or(0, |text| text.len()), pg_token_refresh_token_length(token));
        assert_eq!(access.is_some(), token.is_some());
        assert!(borrowed(pg_token_fingerprint(token)).is_none_or(|text| text.len() == 16));
        assert!(pg_token_remaining_ms(token) <= pg_token_lifetime_ms(token));
        assert!(pg_token_lifetime_disagreement_ms(token) >= 0);
        pg_token_generation(token);
    }
}

fn check_event(event: Option<&pg_event>) {
    // SAFETY: the event is valid, and what it lends is read while it lives.
    unsafe {
        let kind = pg_event_kind(event);
        assert!(kind != EventKind::PG_EVENT_NONE && pg_event_id(event) < 4);
        let error = pg_event_error(event).as_ref();
        assert_eq!(pg_event_status(event) == Status::PG_OK, error.is_none());
        if error.is_some() {
            check_error(error);
        }
        check_token(pg_event_token(event).as_ref());
        let response = pg_event_response(event).as_ref();
        if response.is_some() {
            check_response(response);
        }
        pg_event_log_level(event);
        assert_eq!(borrowed(pg_event_text(event)).is_some(), kind == EventKind::PG_EVENT_LOG);
    }
}

fn check_response(response: Option<&pg_response>) {
    // SAFETY: the response is valid.
    unsafe {
        assert!((100..1000).contains(&pg_response_status(response)));
        let length = pg_response_body_length(response);
        assert_eq!(std::slice::from_raw_parts(pg_response_body(response), length).len(), length);
        let count = pg_response_header_count(response);
        for index in 0..count {
            let name = pg_response_header_name(response, index);
            assert!(!pg_response_header(response, name).is_null());
            assert!(!pg_response_header_value(response, index).is_null());
        }
        assert!(pg_response_header_name(response, count).is_null());
        // Another owner for a moment.
        pg_response_free(pg_response_ref(response.map_or(ptr::null(), ptr::from_ref)));
    }
}

/// Calls with NULL in the place of every pointer.
fn nothing(which: u8) {
    // SAFETY: NULL is legal everywhere.
    unsafe {
        let refused = |result: Result<(), Owner<pg_error>>| assert!(result.is_err());
        match which % 8 {
            0 => refused(checked(|error| pg_session_token(None, 0, None, error))),
            1 => refused(checked(|error| pg_client_new(None, None, error))),
            2 => refused(checked(|error| pg_queue_poll(None, 0, None, error))),
            3 => refused(checked(|error| pg_config_set(None, ptr::null(), ptr::null(), error))),
            4 => refused(checked(|error| pg_refresh_token(None, ptr::null(), ptr::null(), 0, None, error))),
            5 => refused(checked(|error| {
                pg_session_request(
                    None,
                    ptr::null(),
                    ptr::null(),
                    ptr::null(),
                    ptr::null(),
                    0,
                    0,
                    None,
                    error,
                )
            })),
            6 => refused(checked(|error| pg_store_check(ptr::null(), error))),
            _ => {
                check_token(None);
                pg_session_free(ptr::null_mut());
                pg_client_free(ptr::null_mut());
                pg_queue_free(ptr::null_mut());
                pg_event_free(ptr::null_mut());
                pg_error_free(ptr::null_mut());
                pg_text_free(ptr::null_mut());
                assert_eq!(pg_session_token(None, 0, None, None), Status::PG_ERR_NULL_POINTER);
            }
        }
    }
}

/// Settings of this thread's own, a client and a session from them.
fn settings(which: u8, errors: &mut Vec<Owner<pg_error>>) {
    let index = usize::from(which);
    let name = borrowed(pg_setting_name(index));
    assert_eq!(name.is_some(), index < pg_setting_count());
    let config = Owner::new(pg_config_new(), pg_config_free);
    let default = borrowed(pg_setting_default(index)).filter(|text| !text.is_empty());
    if let (Some(name), Some(default)) = (name, default) {
        let (name, default) = (c_text(&name), c_text(&default));
        // SAFETY: the texts are valid for the call.
        let result = checked(|error| unsafe {
            pg_config_set_sized(
                config.get_mut(),
                name.as_ptr(),
                default.as_ptr(),
                default.as_bytes().len(),
                error,
            )
        });
        assert!(result.is_ok(), "a default is valid");
    }
    for name in [c"base_url", c"static_token"] {
        // SAFETY: as above.
        let result = checked(|error| unsafe {
            pg_config_set(config.get_mut(), name.as_ptr(), c"https://127.0.0.1:1".as_ptr(), error)
        });
        errors.extend(result.err());
    }
    // SAFETY: the objects are alive.
    let opened = unsafe {
        produced(pg_client_free, |out, error| pg_client_new(config.get(), out, error)).and_then(|client| {
            produced(pg_session_free, |out, error| pg_session_open(client.get(), config.get(), out, error))
        })
    };
    errors.extend(opened.err());
    assert!(borrowed(pg_status_name(which.into())).is_some_and(|name| name.starts_with("PG_")));
}
