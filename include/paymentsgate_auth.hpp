/**
 * @file
 * paymentsgate-auth for C++17 and later: the C interface with destructors, exceptions and the types of std.
 *
 * - A failure is thrown as pg::error, which carries all that the C interface knows of it. Besides, std::bad_alloc
 *   may be thrown. Whatever was made before is freed.
 * - Texts go in as views and are copied; texts come out as views that are borrowed from their object.
 * - A moved-from object may only be destroyed or assigned to. A call with one throws PG_ERR_NULL_POINTER.
 * - What each call means, what it blocks on and how it fails stands with the function of the C header that it
 *   names; docs/conventions.md holds here too.
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

/// How long a call may take in all. Nothing: with a client and for a request, what the settings `issue_timeout_ms`,
/// `refresh_timeout_ms` and `request_timeout_ms` say; for a token and an event, as long as it takes. Zero: nothing is sent,
/// which throws PG_ERR_TIMEOUT, and a token or an event is not waited for. Less than zero throws PG_ERR_INVALID_ARGUMENT.
using timeout = std::optional<std::chrono::milliseconds>;

/// The version of the library that is loaded, for example "0.1.0". Static text; any thread; never blocks.
inline std::string_view version() noexcept { return pg_version(); }

/// Why a call failed, with all that is needed to decide what to do; what() says it for a person. It never holds a
/// secret. Copies share one immutable object, so they cannot throw and may be used by any thread.
class error : public std::runtime_error {
public:
    /// An error of the C interface.
    error(pg_status status, std::shared_ptr<const pg_error> source)
        : std::runtime_error(pg_error_text(source.get())), status_(status), source_(std::move(source)) {}

    /// An error that this header found itself.
    error(pg_status status, const char *text) : std::runtime_error(text), status_(status) {}

    /// The class of the failure. Treat a number you do not know as a failure.
    pg_status status() const noexcept { return status_; }

    /// Its name, for example "PG_ERR_TIMEOUT". Static text.
    std::string_view status_name() const noexcept { return pg_status_name(status_); }

    /// The HTTP status of the answer, if one came.
    std::optional<int> http_status() const noexcept {
        const int status = pg_error_http_status(source_.get());
        return status == 0 ? std::nullopt : std::optional(status);
    }

    /// The server's own code (`error` in its answer), if it sent one.
    std::optional<std::string> server_code() const { return text(pg_error_server_code(source_.get())); }

    /// The server's own words (`message`), if it sent any.
    std::optional<std::string> server_message() const { return text(pg_error_server_message(source_.get())); }

    /// The server's `details` as JSON text, if it sent any.
    std::optional<std::string> server_details() const { return text(pg_error_server_details(source_.get())); }

    /// How long the server asked us to wait, at most an hour, if it did.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        const std::int64_t wait = pg_error_retry_after_ms(source_.get());
        return wait < 0 ? std::nullopt : std::optional(std::chrono::milliseconds(wait));
    }

    /// pg_error_cause: what had failed before the deadline passed, for example PG_ERR_CONNECT; what() tells of it, too.
    /// PG_OK if nothing is known, and with every status but PG_ERR_TIMEOUT.
    pg_status cause() const noexcept { return pg_error_cause(source_.get()); }

    /// Whether the very same call may succeed later and is safe to make again.
    bool retryable() const noexcept { return pg_error_is_retryable(source_.get()); }

    /// Whether only credentials can go on from here: after a refresh, issue(); after a refused issue, better ones.
    bool needs_credentials() const noexcept { return pg_error_needs_credentials(source_.get()); }

    /// What became of the refresh token that the failed call was given.
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
struct freed_by {
    template <typename Object>
    void operator()(Object *object) const noexcept {
        free_function(object);
    }
};

/// A share of a counted object: a copy is one more owner.
template <typename Object, auto add_owner, auto take_owner>
class shared {
public:
    explicit shared(Object *owned) noexcept : object_(owned) {}
    shared(const shared &other) noexcept : object_(add_owner(other.object_)) {}
    shared(shared &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    shared &operator=(shared other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~shared() { take_owner(object_); }

    Object *get() const noexcept { return object_; }

private:
    Object *object_;
};

/// Calls a function whose last parameter is `pg_error **`. Throws the error that it hands out, unless its status is
/// the one that is `spared`; answers whether there was none.
template <pg_status spared = PG_OK, typename Function, typename... Arguments>
bool call(Function *function, Arguments... arguments) {
    pg_error *failure = nullptr;
    const pg_status status = function(arguments..., &failure);
    if (status == PG_OK) {
        return true;
    }
    std::shared_ptr<const pg_error> source(failure, pg_error_free);
    if (status == spared) {
        return false;
    }
    throw error(status, std::move(source));
}

/// Calls a function that hands out an object.
template <typename Object, typename Function, typename... Arguments>
Object *made_by(Function *function, Arguments... arguments) {
    Object *made = nullptr;
    call(function, arguments..., &made);
    return made;
}

/// Calls a function that hands out a text.
template <typename Function, typename... Arguments>
std::string text_by(Function *function, Arguments... arguments) {
    const std::unique_ptr<char, freed_by<pg_text_free>> text(made_by<char>(function, arguments...));
    return text.get();
}

/// An empty view may hold a null pointer, which to C would mean that the text was not given at all.
inline const char *pointer(std::string_view given) noexcept { return given.data() == nullptr ? "" : given.data(); }

/// Every program begins with settings or a queue, so nothing else was called before.
inline void check_abi() {
    if (pg_abi_version() != PG_ABI_VERSION) {
        const std::string text = "this program was compiled for ABI " + std::to_string(PG_ABI_VERSION) +
                                 " of paymentsgate-auth, and the library that is loaded has ABI " +
                                 std::to_string(pg_abi_version()) + "; install the one, or compile for the other";
        throw error(PG_ERR_SYSTEM, text.c_str());
    }
}

/// A text that ends in a NUL has none inside: what stands behind it would be lost.
inline const char *terminated(const std::string &given) {
    if (given.find('\0') != std::string::npos) {
        throw error(PG_ERR_INVALID_ARGUMENT, "a text has a NUL inside; leave it out");
    }
    return given.c_str();
}

/// -1 ms must not pass for PG_TIMEOUT_DEFAULT, so every negative time becomes one that the library refuses.
inline std::int64_t milliseconds(timeout limit) noexcept {
    if (!limit) {
        return PG_TIMEOUT_DEFAULT;
    }
    return limit->count() < 0 ? std::numeric_limits<std::int64_t>::min() : std::int64_t{limit->count()};
}

}  // namespace detail

/// One row of the table of settings. Static texts.
struct setting {
    std::string_view name;           ///< As in config::set().
    std::string_view type;           ///< "text", "secret", "path", "url", "boolean", "milliseconds" and so on
    std::string_view default_value;  ///< Empty where there is none.
    std::string_view range;          ///< The values that it takes, in words.
    std::string_view description;    ///< What it does.
};

/// The table of settings. Any thread; never blocks.
inline std::vector<setting> settings() {
    std::vector<setting> rows;
    rows.reserve(pg_setting_count());
    for (std::size_t row = 0; row < pg_setting_count(); ++row) {
        rows.push_back({pg_setting_name(row), pg_setting_type(row), pg_setting_default(row),
                        pg_setting_range(row), pg_setting_description(row)});
    }
    return rows;
}

/// A store of the program's own, to derive from: pg_store has the contract. The functions are called on threads of the
/// library's, several at once; what they throw becomes the failure that pg_store speaks of, with its what().
class store {
public:
    /// What load() finds.
    struct record {
        std::uint64_t version;  ///< From 1 on.
        std::string bytes;      ///< As they were saved.
    };

    virtual ~store() = default;

    /// Takes the lock for so long from now on, or renews it for the owner who has it. False: somebody else has it.
    virtual bool lock(std::string_view key, std::string_view owner, std::chrono::milliseconds lease) = 0;

    /// Frees the lock, if that owner has it.
    virtual void unlock(std::string_view key, std::string_view owner) = 0;

    /// The record, as last saved by anybody, if there is one.
    virtual std::optional<record> load(std::string_view key) = 0;

    /// Replaces the record and its version, durably, if its version is the expected one; 0: if there is none yet. False:
    /// another version is there, and nothing has changed.
    virtual bool save(std::string_view key, std::uint64_t expected_version, std::uint64_t version,
                      std::string_view bytes) = 0;
};

namespace detail {

/// A store as the table of callbacks that C knows. The context owns a share of it.
struct store_table {
    using context = std::shared_ptr<pg::store>;

    static pg_store of(context *shared) noexcept {
        pg_store table{};
        table.size = sizeof table;
        table.context = shared;
        table.lock = lock;
        table.unlock = unlock;
        table.load = load;
        table.save = save;
        table.free = free;
        return table;
    }

    static std::int32_t lock(void *context, const char *key, const char *owner, std::uint32_t lease_ms,
                             pg_reply *reply) noexcept {
        return answer(reply, [&]() -> std::int32_t {
            return of(context).lock(key, owner, std::chrono::milliseconds(lease_ms)) ? 1 : 0;
        });
    }

    static std::int32_t unlock(void *context, const char *key, const char *owner, pg_reply *reply) noexcept {
        return answer(reply, [&]() -> std::int32_t {
            of(context).unlock(key, owner);
            return 1;
        });
    }

    static std::int32_t load(void *context, const char *key, pg_reply *reply) noexcept {
        return answer(reply, [&]() -> std::int32_t {
            const std::optional<pg::store::record> found = of(context).load(key);
            return found ? pg_reply_record(reply, found->version, bytes(found->bytes), found->bytes.size()) : 0;
        });
    }

    static std::int32_t save(void *context, const char *key, std::uint64_t expected_version, std::uint64_t version,
                             const std::uint8_t *bytes, std::size_t length, pg_reply *reply) noexcept {
        return answer(reply, [&]() -> std::int32_t {
            const std::string_view record(reinterpret_cast<const char *>(bytes), length);
            return of(context).save(key, expected_version, version, record) ? 1 : 0;
        });
    }

    static void free(void *shared) noexcept { delete static_cast<context *>(shared); }

private:
    static pg::store &of(void *shared) noexcept { return **static_cast<context *>(shared); }

    static const std::uint8_t *bytes(std::string_view record) noexcept {
        return reinterpret_cast<const std::uint8_t *>(record.data());
    }

    /// No exception crosses into C.
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

/// pg_store_check: puts every promise of the contract to the test, on keys of its own. Throws PG_ERR_INVALID_ARGUMENT with the
/// first that is broken, PG_ERR_STORE where the store failed, PG_ERR_TIMEOUT where it does not return. Blocks for about a second.
inline void check_store(std::shared_ptr<store> tested) {
    detail::check_abi();
    if (tested == nullptr) {
        throw error(PG_ERR_NULL_POINTER, "check_store: the store is null");
    }
    auto shared = std::make_unique<detail::store_table::context>(std::move(tested));
    const pg_store table = detail::store_table::of(shared.get());
    try {
        detail::call(pg_store_check, &table);
    } catch (const error &failure) {
        if (failure.status() == PG_ERR_TIMEOUT) {
            // A call that has not returned still uses it.
            static_cast<void>(shared.release());
        }
        throw;
    }
}

/// Settings, by name. Moved, not copied; not to be used from two threads at once. Never blocks.
class config {
public:
    /// All at their defaults. Throws where the library that is loaded is not the one that this header describes.
    config() {
        detail::check_abi();
        handle_.reset(pg_config_new());
        if (handle_ == nullptr) {
            throw error(PG_ERR_INTERNAL, "pg_config_new failed, a defect of paymentsgate-auth; please report it");
        }
    }

    /// pg_config_set: one value, copied. A failure changes nothing.
    config &set(const std::string &name, std::string_view value) {
        detail::call(pg_config_set_sized, handle_.get(), name.c_str(), detail::pointer(value), value.size());
        return *this;
    }

    /// pg_config_set_from_env: every setting whose PAYMENTSGATE_ variable is set. All or nothing. Not while another
    /// thread changes the environment.
    config &set_from_env() {
        detail::call(pg_config_set_from_env, handle_.get());
        return *this;
    }

    /// pg_config_set_store: sessions that are opened with these settings keep their pair in this store, and share it. Not
    /// together with the setting `store`.
    config &set_store(std::shared_ptr<store> kept) {
        if (kept == nullptr) {
            throw error(PG_ERR_NULL_POINTER, "set_store: the store is null");
        }
        auto shared = std::make_unique<detail::store_table::context>(std::move(kept));
        const pg_store table = detail::store_table::of(shared.get());
        detail::call(pg_config_set_store, handle_.get(), &table);
        // The library's now, which frees it.
        static_cast<void>(shared.release());
        return *this;
    }

private:
    friend class client;
    friend class session;

    std::unique_ptr<pg_config, detail::freed_by<pg_config_free>> handle_;
};

/// An access token with the refresh token that buys the next pair. Immutable and counted: a copy is one more owner,
/// the last one zeroes the texts. Any number of threads may use it at once, in a forked child too. Nothing here
/// throws or blocks.
class token {
public:
    /// For `Authorization: Bearer …`. A secret. Borrowed; ends in a NUL.
    std::string_view access_token() const noexcept {
        return {pg_token_access_token(handle_.get()), pg_token_access_token_length(handle_.get())};
    }

    /// The refresh token, if the service gave one. A secret, and more so. Borrowed; ends in a NUL.
    std::optional<std::string_view> refresh_token() const noexcept {
        const char *const text = pg_token_refresh_token(handle_.get());
        return text == nullptr ? std::nullopt
                               : std::optional(std::string_view(text, pg_token_refresh_token_length(handle_.get())));
    }

    /// The name under which the access token may be shown and logged: 16 hexadecimal digits. Borrowed.
    std::string_view fingerprint() const noexcept {
        const char *const text = pg_token_fingerprint(handle_.get());
        return text == nullptr ? std::string_view() : text;
    }

    /// The whole life of the access token, counted from just before its request was sent.
    std::chrono::milliseconds lifetime() const noexcept {
        return std::chrono::milliseconds(pg_token_lifetime_ms(handle_.get()));
    }

    /// How far the service's own statements of the lifetime are apart; zero where they agree within a minute.
    std::chrono::milliseconds lifetime_disagreement() const noexcept {
        return std::chrono::milliseconds(pg_token_lifetime_disagreement_ms(handle_.get()));
    }

    /// What is left of that life now; zero when it has expired.
    std::chrono::milliseconds remaining() const noexcept {
        return std::chrono::milliseconds(pg_token_remaining_ms(handle_.get()));
    }

    /// Which pair of its session this is, from 1 on; 0 for a token of issue() or refresh().
    std::uint64_t generation() const noexcept { return pg_token_generation(handle_.get()); }

private:
    friend class client;
    friend class event;
    friend class session;

    explicit token(pg_token *owned) noexcept : handle_(owned) {}

    detail::shared<pg_token, pg_token_ref, pg_token_free> handle_;
};

/// A complete answer of the API, of any HTTP status. Immutable and counted: a copy is one more owner. Any number of
/// threads may use it at once. Nothing here blocks.
class response {
public:
    /// The HTTP status.
    int status() const noexcept { return pg_response_status(handle_.get()); }

    /// The body, which need not be text. Borrowed.
    std::string_view body() const noexcept {
        const auto *const bytes = reinterpret_cast<const char *>(pg_response_body(handle_.get()));
        return {bytes, pg_response_body_length(handle_.get())};
    }

    /// The first value of a header, whose name may be in any case, if it came. Borrowed.
    std::optional<std::string_view> header(const std::string &name) const noexcept {
        const char *const value = pg_response_header(handle_.get(), name.c_str());
        return value == nullptr ? std::nullopt : std::optional<std::string_view>(value);
    }

    /// All headers, their names in lower case. Borrowed.
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

/// What a queue gives: the end of an operation, news of a session, a line of its log. Immutable; copies share one
/// object, and what comes out of it may outlive it. Any thread; nothing here blocks.
class event {
public:
    /// What it is. Leave out what you do not know.
    pg_kind kind() const noexcept { return pg_event_kind(handle_.get()); }

    /// The number that the operation or subscription was started with.
    std::uint64_t id() const noexcept { return pg_event_id(handle_.get()); }

    /// What it came to: PG_OK, or the status of its error.
    pg_status status() const noexcept { return pg_event_status(handle_.get()); }

    /// The error of an operation that failed or of bad news, to be looked at or thrown.
    std::optional<pg::error> error() const {
        const pg_error *const failure = pg_event_error(handle_.get());
        return failure == nullptr
                   ? std::nullopt
                   : std::optional<pg::error>(std::in_place, status(), std::shared_ptr<const pg_error>(handle_, failure));
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

    /// How much a line of the log matters; PG_LOG_NONE for every other event.
    pg_log_level log_level() const noexcept { return pg_event_log_level(handle_.get()); }

    /// A line of the log, empty for every other event. Borrowed.
    std::string_view text() const noexcept {
        const char *const line = pg_event_text(handle_.get());
        return line == nullptr ? std::string_view() : line;
    }

private:
    friend class queue;

    explicit event(pg_event *owned) : handle_(owned, pg_event_free) {}

    std::shared_ptr<pg_event> handle_;
};

/// A queue of events, for programs that do not block. Moved, not copied; any number of threads may use it at once. It
/// gives up what is under way on it when it goes, subscriptions too: declare it before the session whose last pair it is
/// to hear of. A forked child finds it empty, and with a descriptor of its own.
class queue {
public:
    queue() {
        detail::check_abi();
        handle_.reset(detail::made_by<pg_queue>(pg_queue_new));
    }

    /// pg_queue_poll: the next event, or nothing where none came in time. Zero does not wait.
    std::optional<event> poll(timeout limit = {}) const {
        pg_event *const taken = detail::made_by<pg_event>(pg_queue_poll, handle_.get(), detail::milliseconds(limit));
        return taken == nullptr ? std::nullopt : std::optional(event(taken));
    }

    /// pg_queue_fd: a descriptor that is readable while an event waits. The queue's own: only wait for it.
    int fd() const {
        std::int32_t descriptor = -1;
        detail::call(pg_queue_fd, handle_.get(), &descriptor);
        return descriptor;
    }

    /// pg_queue_cancel: ends what was started under that number, with an event that says so. Never blocks.
    void cancel(std::uint64_t id) const { detail::call(pg_queue_cancel, handle_.get(), id); }

private:
    friend class client;
    friend class session;

    std::unique_ptr<pg_queue, detail::freed_by<pg_queue_free>> handle_;
};

/// A way to one service: TLS, proxy, pool of connections, perhaps credentials. Moved, not copied. Any number of
/// threads may call it at once, a forked child too; it must outlive the calls. Tokens outlive it.
class client {
public:
    /// pg_client_new: the settings are copied and the files that they name are read; connects nowhere and starts no
    /// thread. Blocks only on reading files.
    explicit client(const config &from) : handle_(detail::made_by<pg_client>(pg_client_new, from.handle_.get())) {}

    /// pg_issue_token with the credentials of the settings. Blocks until the answer or the deadline.
    token issue(timeout limit = {}) const {
        return made_by(pg_issue_token_sized, handle_.get(), nullptr, 0U, nullptr, 0U, detail::milliseconds(limit));
    }

    /// pg_issue_token with these credentials: the account's id and its public key, base64 of the PEM file. Blocks
    /// until the answer or the deadline.
    token issue(std::string_view account_id, std::string_view public_key, timeout limit = {}) const {
        return made_by(pg_issue_token_sized, handle_.get(), detail::pointer(account_id), account_id.size(),
                       detail::pointer(public_key), public_key.size(), detail::milliseconds(limit));
    }

    /// pg_refresh_token with both texts of a pair. The refresh token is presented once; after a failure fate() tells
    /// whether it may be presented again. Blocks until the answer or the deadline.
    token refresh(const token &pair, timeout limit = {}) const {
        return made_by(pg_refresh_token_sized, handle_.get(), pg_token_access_token(pair.handle_.get()),
                       pg_token_access_token_length(pair.handle_.get()), pg_token_refresh_token(pair.handle_.get()),
                       pg_token_refresh_token_length(pair.handle_.get()), detail::milliseconds(limit));
    }

    /// The same with texts that the caller kept; std::nullopt for an access token that is not to be sent.
    token refresh(std::optional<std::string_view> access_token, std::string_view refresh_token,
                  timeout limit = {}) const {
        return made_by(pg_refresh_token_sized, handle_.get(), access_token ? detail::pointer(*access_token) : nullptr,
                       access_token ? access_token->size() : 0U, detail::pointer(refresh_token), refresh_token.size(),
                       detail::milliseconds(limit));
    }

    /// pg_issue_token_start: issue() without waiting. The answer comes as the PG_EVENT_TOKEN of that number, which is unlike
    /// that of anything else under way on the queue. Never blocks.
    void issue_start(const queue &on, std::uint64_t id, timeout limit = {}) const {
        detail::call(pg_issue_token_start, handle_.get(), on.handle_.get(), id, nullptr, nullptr,
                     detail::milliseconds(limit));
    }

    /// The same with these credentials.
    void issue_start(const queue &on, std::uint64_t id, const std::string &account_id, const std::string &public_key,
                     timeout limit = {}) const {
        detail::call(pg_issue_token_start, handle_.get(), on.handle_.get(), id, detail::terminated(account_id),
                     detail::terminated(public_key), detail::milliseconds(limit));
    }

    /// pg_refresh_token_start: refresh() without waiting. The fate of the refresh token is that of the event's error.
    /// Never blocks.
    void refresh_start(const queue &on, std::uint64_t id, const token &pair, timeout limit = {}) const {
        detail::call(pg_refresh_token_start, handle_.get(), on.handle_.get(), id,
                     pg_token_access_token(pair.handle_.get()), pg_token_refresh_token(pair.handle_.get()),
                     detail::milliseconds(limit));
    }

    /// The same with texts that the caller kept.
    void refresh_start(const queue &on, std::uint64_t id, const std::optional<std::string> &access_token,
                       const std::string &refresh_token, timeout limit = {}) const {
        detail::call(pg_refresh_token_start, handle_.get(), on.handle_.get(), id,
                     access_token ? detail::terminated(*access_token) : nullptr, detail::terminated(refresh_token),
                     detail::milliseconds(limit));
    }

    /// pg_client_metrics: the health of the client's sessions, in the text format of Prometheus. Does not block.
    std::string metrics() const { return detail::text_by(pg_client_metrics, handle_.get()); }

private:
    friend class session;

    template <typename Function, typename... Arguments>
    static token made_by(Function *function, Arguments... arguments) {
        return token(detail::made_by<pg_token>(function, arguments...));
    }

    std::unique_ptr<pg_client, detail::freed_by<pg_client_free>> handle_;
};

/// Names and values of a request's headers. The library sets Authorization, Host and Content-Length, and Accept and
/// Content-Type (application/json) unless they are here.
using headers = std::vector<std::pair<std::string, std::string>>;

/// One account's life on a client: it has a token that works, and sees to the next one. Counted: a copy is one more
/// owner, so every thread or object that uses it may have its own; with the last one the session is closed without
/// waiting, and a queue that is still there hears the end of a call under way, as after close(). Any number of threads may use it at once, a forked child too. Client and settings need not outlive it,
/// tokens do.
class session {
public:
    /// pg_session_open: the settings name the account, or else those of the client do. Connects nowhere. Blocks only
    /// on reading files.
    session(const client &on, const config &from)
        : handle_(detail::made_by<pg_session>(pg_session_open, on.handle_.get(), from.handle_.get())) {}

    /// pg_session_token_lasting: a token that works now, and for `min_remaining` more if that can be had. From memory
    /// while it is fresh; otherwise blocks until there is one or the deadline, when it is the one that still lives.
    /// It has no refresh token.
    pg::token token(timeout limit = {}, std::chrono::milliseconds min_remaining = {}) const {
        return pg::token(detail::made_by<pg_token>(pg_session_token_lasting, handle_.get(),
                                                   std::int64_t{min_remaining.count()}, detail::milliseconds(limit)));
    }

    /// The token that there is, without waiting; nothing where there is none yet, but one is on its way. Throws like
    /// token(), save PG_ERR_TIMEOUT. Never blocks.
    std::optional<pg::token> try_token() const {
        pg_token *made = nullptr;
        const bool there = detail::call<PG_ERR_TIMEOUT>(pg_session_token, handle_.get(), std::int64_t{0}, &made);
        return there ? std::optional(pg::token(made)) : std::nullopt;
    }

    /// pg_session_refresh: another token than the one there is, got now, by a call that all who ask meanwhile share. For
    /// operators and tests: in the life of a session token() refreshes in time, and reject() replaces a token that the
    /// service refused. Where nothing newer comes it throws, though the token there is may live on. Blocks until there is
    /// one or the deadline.
    pg::token refresh(timeout limit = {}) const {
        return pg::token(detail::made_by<pg_token>(pg_session_refresh, handle_.get(), detail::milliseconds(limit)));
    }

    /// refresh() without waiting: the answer comes as the PG_EVENT_TOKEN of that number. Never blocks.
    void refresh_start(const queue &on, std::uint64_t id, timeout limit = {}) const {
        detail::call(pg_session_refresh_start, handle_.get(), on.handle_.get(), id, detail::milliseconds(limit));
    }

    /// pg_session_generation_word: tells whether a token that was kept may be used again, without a call. To be read with
    /// acquire; valid until the last owner has gone.
    const std::uint64_t *generation_word() const noexcept { return pg_session_generation_word(handle_.get()); }

    /// pg_session_token_lasting without waiting: the answer comes as the PG_EVENT_TOKEN of that number, which is unlike
    /// that of anything else under way on the queue. Never blocks.
    void token_start(const queue &on, std::uint64_t id, timeout limit = {},
                     std::chrono::milliseconds min_remaining = {}) const {
        detail::call(pg_session_token_start, handle_.get(), on.handle_.get(), id, std::int64_t{min_remaining.count()},
                     detail::milliseconds(limit));
    }

    /// pg_session_request: a request to a path below `base_url`, with the session's token. Any complete answer is a
    /// response, whatever its HTTP status. After an error retryable() says whether to make it again is safe. No limit:
    /// what the setting `request_timeout_ms` says. Blocks until the answer or the deadline.
    pg::response request(const std::string &method, const std::string &path, const headers &with = {},
                         std::optional<std::string_view> body = {}, timeout limit = {}) const {
        return pg::response(detail::made_by<pg_response>(
            pg_session_request, handle_.get(), detail::terminated(method), detail::terminated(path),
            in_turn(with).data(), bytes(body), body ? body->size() : 0U, detail::milliseconds(limit)));
    }

    /// request() without waiting: the answer comes as the PG_EVENT_RESPONSE of that number. Never blocks.
    void request_start(const queue &on, std::uint64_t id, const std::string &method, const std::string &path,
                       const headers &with = {}, std::optional<std::string_view> body = {}, timeout limit = {}) const {
        detail::call(pg_session_request_start, handle_.get(), on.handle_.get(), id, detail::terminated(method),
                     detail::terminated(path), in_turn(with).data(), bytes(body), body ? body->size() : 0U,
                     detail::milliseconds(limit));
    }

    /// pg_session_subscribe: news from now on, and lines of the log up to that level, each as an event of that number,
    /// until PG_EVENT_ENDED, which may come after the session has gone: that of a session from a pair waits for the call
    /// under way, whose pair comes before it. So let the queue outlive the session, and poll it to that end. Never blocks.
    void subscribe(const queue &on, std::uint64_t id, pg_log_level level = PG_LOG_NONE) const {
        detail::call(pg_session_subscribe, handle_.get(), on.handle_.get(), id, level);
    }

    /// pg_session_reject: the service answered that status to a request with this token. 401 withdraws it, if it is
    /// still the session's; any other status changes nothing. PG_ERR_REJECTED_FRESH: it goes on being served, and a report
    /// after retry_after() replaces it. Does not block on the network.
    void reject(const pg::token &refused, int http_status = 401) const {
        detail::call(pg_session_reject, handle_.get(), refused.handle_.get(), http_status);
    }

    /// pg_session_set_credentials: another key of the session's account; the current token goes on being served. Those of
    /// another account throw PG_ERR_INVALID_ARGUMENT: open another session for it. Does not block.
    void set_credentials(std::string_view account_id, std::string_view public_key) const {
        detail::call(pg_session_set_credentials_sized, handle_.get(), detail::pointer(account_id), account_id.size(),
                     detail::pointer(public_key), public_key.size());
    }

    /// pg_session_health: how the session is, as a JSON object without secrets. Does not block.
    std::string health() const { return detail::text_by(pg_session_health, handle_.get()); }

    /// pg_session_close: callers who wait are thrown PG_ERR_CLOSED, and so is every later call. Blocks until a call under
    /// way has ended or the deadline, which throws PG_ERR_TIMEOUT; closed it is all the same.
    void close(timeout limit = {}) const {
        detail::call(pg_session_close, handle_.get(), detail::milliseconds(limit));
    }

private:
    /// As the C interface takes them.
    static std::vector<const char *> in_turn(const headers &given) {
        std::vector<const char *> texts;
        texts.reserve(given.size() * 2 + 1);
        for (const auto &[name, value] : given) {
            texts.push_back(detail::terminated(name));
            texts.push_back(detail::terminated(value));
        }
        texts.push_back(nullptr);
        return texts;
    }

    /// Null only for a body that was not given.
    static const std::uint8_t *bytes(std::optional<std::string_view> body) noexcept {
        return body ? reinterpret_cast<const std::uint8_t *>(detail::pointer(*body)) : nullptr;
    }

    detail::shared<pg_session, pg_session_ref, pg_session_free> handle_;
};

}  // namespace pg

#endif  // PAYMENTSGATE_AUTH_HPP
