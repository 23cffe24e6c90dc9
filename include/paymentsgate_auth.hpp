/**
 * @file
 * paymentsgate-auth for C++17 and later: the C interface with destructors, exceptions and the types of std.
 *
 * - A failure throws pg::error, which has all that the C interface knows of it. std::bad_alloc may be thrown too. Nothing
 *   leaks.
 * - Text arguments are copied. A returned view is borrowed from its object, and ends in a NUL if it is text.
 * - A moved-from object may only be destroyed or assigned to. A call with one throws PG_ERR_NULL_POINTER.
 * - Any number of threads may use an object at once, except a config; a forked child too. Nothing blocks unless its
 *   comment says so. A comment that begins with the name of a C function only adds to that function's comment, which
 *   says what the call means and how it fails. docs/conventions.md holds here too.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef PAYMENTSGATE_AUTH_HPP
#define PAYMENTSGATE_AUTH_HPP

#include "paymentsgate_auth.h"

#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pg {

using std::chrono::milliseconds;

/// How long a call may take in all. Without a value: PG_TIMEOUT_DEFAULT. Zero: a client sends nothing and throws
/// PG_ERR_TIMEOUT; a session or a queue does not wait. Less than zero throws PG_ERR_INVALID_ARGUMENT.
using timeout = std::optional<milliseconds>;

/// The version of the loaded library, for example "0.1.0".
inline std::string_view version() noexcept { return pg_version(); }

/// Why a call failed, with all that is needed to decide what to do. what() is for a person. It never has a secret.
/// Copies share one immutable object, so copying does not throw.
class error : public std::runtime_error {
public:
    /// An error of the C interface.
    error(pg_status status, std::shared_ptr<const pg_error> source)
        : std::runtime_error(pg_error_text(source.get())), status_(status), source_(std::move(source)) {}
    /// An error of this header.
    error(pg_status status, const char *text) : std::runtime_error(text), status_(status) {}
    /// Treat an unknown number as a failure.
    pg_status status() const noexcept { return status_; }
    /// The name of the status, for example "PG_ERR_TIMEOUT". Static text.
    std::string_view status_name() const noexcept { return pg_status_name(status_); }
    /// The HTTP status of the answer, if one came.
    std::optional<int> http_status() const noexcept {
        const int status = pg_error_http_status(source_.get());
        return status == 0 ? std::nullopt : std::optional(status);
    }
    /// The server's own code (`error` in its answer), if it sent one.
    std::optional<std::string> server_code() const { return text(pg_error_server_code(source_.get())); }
    /// The server's own message (`message`), if it sent one.
    std::optional<std::string> server_message() const { return text(pg_error_server_message(source_.get())); }
    /// The server's `details` as JSON text, if it sent any.
    std::optional<std::string> server_details() const { return text(pg_error_server_details(source_.get())); }
    /// pg_error_retry_after_ms: how long to wait, if known.
    std::optional<milliseconds> retry_after() const noexcept {
        const std::int64_t wait = pg_error_retry_after_ms(source_.get());
        return wait < 0 ? std::nullopt : std::optional(milliseconds(wait));
    }
    /// pg_error_cause: with PG_ERR_TIMEOUT, what had failed before the deadline; what() tells it too.
    pg_status cause() const noexcept { return pg_error_cause(source_.get()); }
    /// Whether the same call may succeed later and is safe to repeat.
    bool retryable() const noexcept { return pg_error_is_retryable(source_.get()); }
    /// Whether only credentials can help: after a refresh, issue(); after a refused issue, other credentials.
    bool needs_credentials() const noexcept { return pg_error_needs_credentials(source_.get()); }
    /// What happened to the refresh token that the failed call was given.
    pg_fate fate() const noexcept { return pg_error_refresh_token_fate(source_.get()); }

private:
    static std::optional<std::string> text(const char *borrowed) {
        return borrowed == nullptr ? std::nullopt : std::optional<std::string>(borrowed);
    }

    pg_status status_;
    std::shared_ptr<const pg_error> source_;
};

namespace detail {

template <auto free_function>
struct deleter {
    template <typename Object>
    void operator()(Object *object) const noexcept { free_function(object); }
};

/// An owner of a counted object: a copy is one more owner.
template <typename Object, auto retain, auto release>
class shared {
public:
    explicit shared(Object *owned) noexcept : object_(owned) {}
    shared(const shared &other) noexcept : object_(retain(other.object_)) {}
    shared(shared &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    shared &operator=(shared other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~shared() { release(object_); }
    Object *get() const noexcept { return object_; }

private:
    Object *object_;
};

/// What C takes: the pointer of an owner, milliseconds as a number, and anything else as it is.
template <typename Plain>
Plain to_c(Plain argument) noexcept { return argument; }
template <typename Object, typename Deleter>
Object *to_c(const std::unique_ptr<Object, Deleter> &owner) noexcept { return owner.get(); }
template <typename Object, auto retain, auto release>
Object *to_c(const shared<Object, retain, release> &owner) noexcept { return owner.get(); }
inline std::int64_t to_c(milliseconds time) noexcept { return time.count(); }
/// -1 ms must not mean PG_TIMEOUT_DEFAULT: every negative time becomes one that the library refuses.
inline std::int64_t to_c(timeout limit) noexcept {
    const milliseconds time = limit.value_or(milliseconds(PG_TIMEOUT_DEFAULT));
    return limit && time.count() < 0 ? std::numeric_limits<std::int64_t>::min() : to_c(time);
}

/// Calls a function whose last parameter is `pg_error **`. Returns whether it succeeded; throws its error unless the
/// status is `expected`.
template <pg_status expected = PG_OK, typename Function, typename... Arguments>
bool call(Function *function, const Arguments &...arguments) {
    pg_error *failure = nullptr;
    const pg_status status = function(to_c(arguments)..., &failure);
    if (status == PG_OK) {
        return true;
    }
    std::shared_ptr<const pg_error> source(failure, pg_error_free);
    if (status == expected) {
        return false;
    }
    throw error(status, std::move(source));
}

/// Calls a function that makes an object.
template <typename Object, typename Function, typename... Arguments>
Object *make(Function *function, const Arguments &...arguments) {
    Object *object = nullptr;
    call(function, arguments..., &object);
    return object;
}

/// Calls a function that makes a text.
template <typename Function, typename... Arguments>
std::string make_text(Function *function, const Arguments &...arguments) {
    const std::unique_ptr<char, deleter<pg_text_free>> text(make<char>(function, arguments...));
    return text.get();
}

/// An empty view may have a null pointer, which means in C that there is no text.
inline const char *pointer(std::string_view given) noexcept { return given.data() == nullptr ? "" : given.data(); }

/// Every program begins with settings, a queue or check_store, so these call it.
inline void check_abi() {
    if (pg_abi_version() != PG_ABI_VERSION) {
        const std::string text = "this program was compiled for ABI " + std::to_string(PG_ABI_VERSION) +
                                 " of paymentsgate-auth, and the library that is loaded has ABI " +
                                 std::to_string(pg_abi_version()) + "; install the one, or compile for the other";
        throw error(PG_ERR_SYSTEM, text.c_str());
    }
}

/// A text without a NUL inside, which would cut it off.
inline const char *terminated(const std::string &given) {
    if (given.find('\0') != std::string::npos) {
        throw error(PG_ERR_INVALID_ARGUMENT, "a text has a NUL inside; leave it out");
    }
    return given.c_str();
}

/// The bytes of a text or a body; never null.
inline const std::uint8_t *bytes(std::string_view given) noexcept {
    return reinterpret_cast<const std::uint8_t *>(pointer(given));
}

/// Empty for a null pointer.
inline std::string_view view(const char *text) noexcept { return text == nullptr ? std::string_view() : text; }

}  // namespace detail

/// A row of the table of settings. Static texts.
struct setting {
    std::string_view name;           ///< As in config::set().
    std::string_view type;           ///< "text", "secret", "path", "url", "boolean", "milliseconds" and so on
    std::string_view default_value;  ///< Empty where there is none.
    std::string_view range;          ///< The values that it takes, in words.
    std::string_view description;    ///< What it does.
};

/// The table of settings.
inline std::vector<setting> settings() {
    std::vector<setting> rows;
    rows.reserve(pg_setting_count());
    for (std::size_t row = 0; row < pg_setting_count(); ++row) {
        rows.push_back({pg_setting_name(row), pg_setting_type(row), pg_setting_default(row),
                        pg_setting_range(row), pg_setting_description(row)});
    }
    return rows;
}

/// A store of the program's own, to derive from: pg_store has the contract. The library calls it on its own threads,
/// several at once. What a function throws is a failure as in pg_store, with its what() as the reason.
class store {
public:
    /// What load() finds.
    struct record {
        std::uint64_t version;  ///< From 1.
        std::string bytes;      ///< As they were saved.
    };

    virtual ~store() = default;
    /// Takes the lock for `lease` from now, or renews it for its owner. False: another owner has it.
    virtual bool lock(std::string_view key, std::string_view owner, milliseconds lease) = 0;
    /// Frees the lock if `owner` has it.
    virtual void unlock(std::string_view key, std::string_view owner) = 0;
    /// The record as it was last saved, if there is one.
    virtual std::optional<record> load(std::string_view key) = 0;
    /// Replaces the record and its version, durably, if its version is `expected_version` (0: there is no record yet).
    /// False: there is another version, and nothing changed.
    virtual bool save(std::string_view key, std::uint64_t expected_version, std::uint64_t version,
                      std::string_view bytes) = 0;
};

namespace detail {

/// The callbacks of C for a store. Their context owns a share of it.
struct store_table {
    using owner = std::shared_ptr<store>;

    /// The context.
    static std::unique_ptr<owner> owner_of(owner given) {
        if (given == nullptr) {
            throw error(PG_ERR_NULL_POINTER, "the store is null");
        }
        return std::make_unique<owner>(std::move(given));
    }

    static pg_store of(owner *shared) noexcept {
        pg_store table{};
        table.size = sizeof table;
        table.context = shared;
        table.lock = [](void *context, const char *key, const char *holder, std::uint32_t lease_ms, pg_reply *reply) {
            return answer(reply, [&] { return in(context).lock(key, holder, milliseconds(lease_ms)); });
        };
        table.unlock = [](void *context, const char *key, const char *holder, pg_reply *reply) {
            return answer(reply, [&] {
                in(context).unlock(key, holder);
                return true;
            });
        };
        table.load = [](void *context, const char *key, pg_reply *reply) {
            return answer(reply, [&] {
                const std::optional<store::record> it = in(context).load(key);
                return it ? pg_reply_record(reply, it->version, detail::bytes(it->bytes), it->bytes.size()) : 0;
            });
        };
        table.save = [](void *context, const char *key, std::uint64_t expected_version, std::uint64_t version,
                        const std::uint8_t *data, std::size_t length, pg_reply *reply) {
            const std::string_view bytes(reinterpret_cast<const char *>(data), length);
            return answer(reply, [&] { return in(context).save(key, expected_version, version, bytes); });
        };
        table.free = [](void *context) { delete static_cast<owner *>(context); };
        return table;
    }

private:
    static store &in(void *context) noexcept { return **static_cast<owner *>(context); }

    /// No exception may reach C.
    template <typename Work>
    static std::int32_t answer(pg_reply *reply, Work work) noexcept {
        try {
            return work();
        } catch (const std::exception &thrown) {
            return pg_reply_failure(reply, thrown.what());
        } catch (...) {
            return pg_reply_failure(reply, "something was thrown that is no std::exception");
        }
    }
};

}  // namespace detail

/// pg_store_check: tests every requirement of pg_store. Blocks for about a second.
inline void check_store(std::shared_ptr<store> tested) {
    detail::check_abi();
    auto shared = detail::store_table::owner_of(std::move(tested));
    const pg_store table = detail::store_table::of(shared.get());
    try {
        detail::call(pg_store_check, &table);
    } catch (const error &failure) {
        if (failure.status() == PG_ERR_TIMEOUT) {
            static_cast<void>(shared.release());  // The callback that has not returned still uses it.
        }
        throw;
    }
}

/// Settings by name. Moved, not copied. Used by one thread at a time.
class config {
public:
    /// Settings with their defaults. Throws if the loaded library has another ABI than this header.
    config() {
        detail::check_abi();
        handle_.reset(pg_config_new());
        if (handle_ == nullptr) {
            throw error(PG_ERR_INTERNAL, "pg_config_new failed, a defect of paymentsgate-auth; please report it");
        }
    }
    /// pg_config_set.
    config &set(const std::string &name, std::string_view value) {
        detail::call(pg_config_set_sized, handle_, name.c_str(), detail::pointer(value), value.size());
        return *this;
    }
    /// pg_config_set_from_env: every setting whose PAYMENTSGATE_ variable is set.
    config &set_from_env() {
        detail::call(pg_config_set_from_env, handle_);
        return *this;
    }
    /// pg_config_set_store: sessions opened with these settings keep and share their pair in this store.
    config &set_store(std::shared_ptr<store> kept) {
        auto shared = detail::store_table::owner_of(std::move(kept));
        const pg_store table = detail::store_table::of(shared.get());
        detail::call(pg_config_set_store, handle_, &table);
        static_cast<void>(shared.release());  // The library owns it now.
        return *this;
    }

private:
    friend class client;
    friend class session;
    std::unique_ptr<pg_config, detail::deleter<pg_config_free>> handle_;
};

/// An access token, with the refresh token that obtains the next pair if there is one. Immutable and counted: a copy is
/// one more owner, and the last one zeroes the texts. Nothing here throws.
class token {
public:
    /// For `Authorization: Bearer …`. A secret.
    std::string_view access_token() const noexcept {
        return {pg_token_access_token(handle_.get()), pg_token_access_token_length(handle_.get())};
    }
    /// The refresh token, if there is one. A secret, more than the access token.
    std::optional<std::string_view> refresh_token() const noexcept {
        const char *const text = pg_token_refresh_token(handle_.get());
        return text == nullptr ? std::nullopt
                               : std::optional(std::string_view(text, pg_token_refresh_token_length(handle_.get())));
    }
    /// The name of the access token for logs: 16 hexadecimal digits.
    std::string_view fingerprint() const noexcept { return detail::view(pg_token_fingerprint(handle_.get())); }
    /// The whole life of the access token, from just before its request was sent.
    milliseconds lifetime() const noexcept { return milliseconds(pg_token_lifetime_ms(handle_.get())); }
    /// How far the service's statements of the lifetime are apart; zero if they agree within a minute.
    milliseconds lifetime_disagreement() const noexcept {
        return milliseconds(pg_token_lifetime_disagreement_ms(handle_.get()));
    }
    /// The rest of the lifetime; zero if the token has expired.
    milliseconds remaining() const noexcept { return milliseconds(pg_token_remaining_ms(handle_.get())); }
    /// The number of the pair in its session, from 1; 0 for a token of issue() or refresh().
    std::uint64_t generation() const noexcept { return pg_token_generation(handle_.get()); }

private:
    friend class client;
    friend class event;
    friend class session;
    explicit token(pg_token *owned) noexcept : handle_(owned) {}
    detail::shared<pg_token, pg_token_ref, pg_token_free> handle_;
};

/// A complete answer of the API, with any HTTP status. Immutable and counted: a copy is one more owner.
class response {
public:
    /// The HTTP status.
    int status() const noexcept { return pg_response_status(handle_.get()); }
    /// The body, which need not be text.
    std::string_view body() const noexcept {
        const auto *const bytes = reinterpret_cast<const char *>(pg_response_body(handle_.get()));
        return {bytes, pg_response_body_length(handle_.get())};
    }
    /// The first value of a header, if it came. The case of `name` does not matter.
    std::optional<std::string_view> header(const std::string &name) const noexcept {
        const char *const value = pg_response_header(handle_.get(), name.c_str());
        return value == nullptr ? std::nullopt : std::optional<std::string_view>(value);
    }
    /// All headers, with names in lower case.
    std::vector<std::pair<std::string_view, std::string_view>> headers() const {
        std::vector<std::pair<std::string_view, std::string_view>> all;
        all.reserve(pg_response_header_count(handle_.get()));
        for (std::size_t row = 0; row < pg_response_header_count(handle_.get()); ++row) {
            all.emplace_back(pg_response_header_name(handle_.get(), row), pg_response_header_value(handle_.get(), row));
        }
        return all;
    }

private:
    friend class event;
    friend class session;
    explicit response(pg_response *owned) noexcept : handle_(owned) {}
    detail::shared<pg_response, pg_response_ref, pg_response_free> handle_;
};

/// An event of a queue: the end of an operation, a session event, or a log line. Immutable; copies share one object.
/// Its error, token and response may outlive it.
class event {
public:
    /// The kind of the event. Ignore unknown ones.
    pg_kind kind() const noexcept { return pg_event_kind(handle_.get()); }
    /// The `id` of the operation or subscription.
    std::uint64_t id() const noexcept { return pg_event_id(handle_.get()); }
    /// PG_OK, or the status of the event's error.
    pg_status status() const noexcept { return pg_event_status(handle_.get()); }
    /// The error of a failed operation, or of a session event that reports a failure.
    std::optional<pg::error> error() const {
        const pg_error *const failure = pg_event_error(handle_.get());
        return failure == nullptr ? std::nullopt
                                  : std::optional(pg::error(status(), std::shared_ptr<const pg_error>(handle_, failure)));
    }
    /// The token of PG_EVENT_TOKEN and PG_EVENT_ROTATED.
    std::optional<pg::token> token() const noexcept {
        pg_token *const owned = pg_token_ref(pg_event_token(handle_.get()));
        return owned == nullptr ? std::nullopt : std::optional(pg::token(owned));
    }
    /// The response of PG_EVENT_RESPONSE.
    std::optional<pg::response> response() const noexcept {
        pg_response *const owned = pg_response_ref(pg_event_response(handle_.get()));
        return owned == nullptr ? std::nullopt : std::optional(pg::response(owned));
    }
    /// The level of a log line; PG_LOG_NONE for every other event.
    pg_log_level log_level() const noexcept { return pg_event_log_level(handle_.get()); }
    /// A log line; empty for every other event.
    std::string_view text() const noexcept { return detail::view(pg_event_text(handle_.get())); }

private:
    friend class queue;
    explicit event(pg_event *owned) : handle_(owned, pg_event_free) {}
    std::shared_ptr<pg_event> handle_;
};

/// A queue of events, for programs that do not block. Moved, not copied. Its destructor abandons its operations and
/// subscriptions: declare it before a session whose last pair it must receive.
class queue {
public:
    queue() {
        detail::check_abi();
        handle_.reset(detail::make<pg_queue>(pg_queue_new));
    }
    /// pg_queue_poll: the next event, if one comes in time. Blocks until then.
    std::optional<event> poll(timeout limit = {}) const {
        pg_event *const taken = detail::make<pg_event>(pg_queue_poll, handle_, limit);
        return taken == nullptr ? std::nullopt : std::optional(event(taken));
    }
    /// pg_queue_fd: a descriptor that is readable while an event waits. Do not read or close it.
    int fd() const {
        std::int32_t descriptor = -1;
        detail::call(pg_queue_fd, handle_, &descriptor);
        return descriptor;
    }
    /// pg_queue_cancel: ends the operation or subscription with this `id`.
    void cancel(std::uint64_t id) const { detail::call(pg_queue_cancel, handle_, id); }

private:
    friend class client;
    friend class session;
    std::unique_ptr<pg_queue, detail::deleter<pg_queue_free>> handle_;
};

/// One service: TLS, proxy, connection pool, and perhaps credentials. Moved, not copied. Its tokens and sessions may
/// outlive it.
class client {
public:
    /// pg_client_new. Blocks only to read files.
    explicit client(const config &from) : handle_(detail::make<pg_client>(pg_client_new, from.handle_)) {}
    /// pg_issue_token with the credentials of the settings. Blocks.
    token issue(timeout limit = {}) const {
        return token(detail::make<pg_token>(pg_issue_token_sized, handle_, nullptr, 0U, nullptr, 0U, limit));
    }
    /// pg_issue_token with these credentials. Blocks.
    token issue(std::string_view account_id, std::string_view public_key, timeout limit = {}) const {
        return token(detail::make<pg_token>(pg_issue_token_sized, handle_, detail::pointer(account_id), account_id.size(),
                                            detail::pointer(public_key), public_key.size(), limit));
    }
    /// pg_refresh_token with a pair. After a failure, fate() tells whether it may be presented again. Blocks.
    token refresh(const token &pair, timeout limit = {}) const {
        const pg_token *const from = pair.handle_.get();
        return token(detail::make<pg_token>(pg_refresh_token_sized, handle_, pg_token_access_token(from),
                                            pg_token_access_token_length(from), pg_token_refresh_token(from),
                                            pg_token_refresh_token_length(from), limit));
    }
    /// The same with texts; std::nullopt sends no access token.
    token refresh(std::optional<std::string_view> access_token, std::string_view refresh_token,
                  timeout limit = {}) const {
        return token(detail::make<pg_token>(
            pg_refresh_token_sized, handle_, access_token ? detail::pointer(*access_token) : nullptr,
            access_token ? access_token->size() : 0U, detail::pointer(refresh_token), refresh_token.size(), limit));
    }

    /// pg_issue_token_start: ends in a PG_EVENT_TOKEN.
    void issue_start(const queue &on, std::uint64_t id, timeout limit = {}) const {
        detail::call(pg_issue_token_start, handle_, on.handle_, id, nullptr, nullptr, limit);
    }
    /// The same with these credentials.
    void issue_start(const queue &on, std::uint64_t id, const std::string &account_id, const std::string &public_key,
                     timeout limit = {}) const {
        detail::call(pg_issue_token_start, handle_, on.handle_, id, detail::terminated(account_id),
                     detail::terminated(public_key), limit);
    }
    /// pg_refresh_token_start: ends in a PG_EVENT_TOKEN, whose error has the fate of the refresh token.
    void refresh_start(const queue &on, std::uint64_t id, const token &pair, timeout limit = {}) const {
        detail::call(pg_refresh_token_start, handle_, on.handle_, id, pg_token_access_token(pair.handle_.get()),
                     pg_token_refresh_token(pair.handle_.get()), limit);
    }
    /// The same with texts.
    void refresh_start(const queue &on, std::uint64_t id, const std::optional<std::string> &access_token,
                       const std::string &refresh_token, timeout limit = {}) const {
        detail::call(pg_refresh_token_start, handle_, on.handle_, id,
                     access_token ? detail::terminated(*access_token) : nullptr, detail::terminated(refresh_token), limit);
    }

    /// pg_client_metrics: the health of the client's sessions, in the text format of Prometheus.
    std::string metrics() const { return detail::make_text(pg_client_metrics, handle_); }

private:
    friend class session;
    std::unique_ptr<pg_client, detail::deleter<pg_client_free>> handle_;
};

/// Names and values of a request's headers. pg_session_request says which the library sets.
using headers = std::vector<std::pair<std::string, std::string>>;

/// One account on a client: keeps a working token, and obtains the next one in time. Counted: a copy is one more owner.
/// The last one closes the session without waiting; a queue that still exists gets the end of a call under way, as after
/// close(). The client and the settings need not outlive it; tokens may outlive it.
class session {
public:
    /// pg_session_open. Blocks only to read files.
    session(const client &on, const config &from)
        : handle_(detail::make<pg_session>(pg_session_open, on.handle_, from.handle_)) {}

    /// pg_session_token_lasting: a token that works now, and for `min_remaining` more if possible. Blocks without one.
    pg::token token(timeout limit = {}, milliseconds min_remaining = {}) const {
        return pg::token(detail::make<pg_token>(pg_session_token_lasting, handle_, min_remaining, limit));
    }
    /// pg_session_token_start: ends in a PG_EVENT_TOKEN.
    void token_start(const queue &on, std::uint64_t id, timeout limit = {}, milliseconds min_remaining = {}) const {
        detail::call(pg_session_token_start, handle_, on.handle_, id, min_remaining, limit);
    }
    /// token() without waiting: the current token, or nothing if there is none yet and one is being obtained.
    std::optional<pg::token> try_token() const {
        pg_token *current = nullptr;
        const bool is_there = detail::call<PG_ERR_TIMEOUT>(pg_session_token, handle_, milliseconds(0), &current);
        return is_there ? std::optional(pg::token(current)) : std::nullopt;
    }
    /// pg_session_generation_word: tells without a call whether a kept token may be used again. Read it with acquire.
    const std::uint64_t *generation_word() const noexcept { return pg_session_generation_word(handle_.get()); }
    /// pg_session_refresh: another token than the current one now, for operators and tests. Blocks.
    pg::token refresh(timeout limit = {}) const {
        return pg::token(detail::make<pg_token>(pg_session_refresh, handle_, limit));
    }
    /// pg_session_refresh_start: ends in a PG_EVENT_TOKEN.
    void refresh_start(const queue &on, std::uint64_t id, timeout limit = {}) const {
        detail::call(pg_session_refresh_start, handle_, on.handle_, id, limit);
    }

    /// pg_session_request: any complete answer is a response, whatever its HTTP status. Blocks.
    pg::response request(const std::string &method, const std::string &path, const headers &with = {},
                         std::optional<std::string_view> body = {}, timeout limit = {}) const {
        return pg::response(detail::make<pg_response>(
            pg_session_request, handle_, detail::terminated(method), detail::terminated(path), c_headers(with).data(),
            body ? detail::bytes(*body) : nullptr, body ? body->size() : 0U, limit));
    }
    /// pg_session_request_start: ends in a PG_EVENT_RESPONSE.
    void request_start(const queue &on, std::uint64_t id, const std::string &method, const std::string &path,
                       const headers &with = {}, std::optional<std::string_view> body = {}, timeout limit = {}) const {
        detail::call(pg_session_request_start, handle_, on.handle_, id, detail::terminated(method),
                     detail::terminated(path), c_headers(with).data(), body ? detail::bytes(*body) : nullptr,
                     body ? body->size() : 0U, limit);
    }

    /// pg_session_subscribe: session events, and log lines up to `level`, until PG_EVENT_ENDED. For a session from a
    /// pair, that event comes after a call under way and its pair, perhaps when the session no longer exists: so let the
    /// queue outlive the session, and poll it until then.
    void subscribe(const queue &on, std::uint64_t id, pg_log_level level = PG_LOG_NONE) const {
        detail::call(pg_session_subscribe, handle_, on.handle_, id, level);
    }
    /// pg_session_reject: reports the service's status for a request with this token. 401 withdraws a current token;
    /// after PG_ERR_REJECTED_FRESH it stays current, and a report after retry_after() replaces it.
    void reject(const pg::token &refused, int http_status = 401) const {
        detail::call(pg_session_reject, handle_, refused.handle_, http_status);
    }
    /// pg_session_set_credentials: another key of the session's account; the current token stays.
    void set_credentials(std::string_view account_id, std::string_view public_key) const {
        detail::call(pg_session_set_credentials_sized, handle_, detail::pointer(account_id), account_id.size(),
                     detail::pointer(public_key), public_key.size());
    }
    /// pg_session_health: the state of the session, as a JSON object without secrets.
    std::string health() const { return detail::make_text(pg_session_health, handle_); }
    /// pg_session_close: waiting and later calls throw PG_ERR_CLOSED. Blocks until the call under way ends.
    void close(timeout limit = {}) const { detail::call(pg_session_close, handle_, limit); }

private:
    /// Names and values in turn, and a null pointer.
    static std::vector<const char *> c_headers(const headers &given) {
        std::vector<const char *> texts;
        texts.reserve(given.size() * 2 + 1);
        for (const auto &[name, value] : given) {
            texts.push_back(detail::terminated(name));
            texts.push_back(detail::terminated(value));
        }
        texts.push_back(nullptr);
        return texts;
    }

    detail::shared<pg_session, pg_session_ref, pg_session_free> handle_;
};

}  // namespace pg

#endif  // PAYMENTSGATE_AUTH_HPP
