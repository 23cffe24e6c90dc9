/*
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
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pg {

/// How long a call may take in all; nothing: what the settings `issue_timeout_ms` and `refresh_timeout_ms` say.
/// Zero sends nothing and throws PG_ERR_TIMEOUT; less than zero throws PG_ERR_INVALID_ARGUMENT.
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

/// Calls a function whose last parameter is `pg_error **`, and throws the error that it hands out.
template <typename Function, typename... Arguments>
void call(Function *function, Arguments... arguments) {
    pg_error *failure = nullptr;
    const pg_status status = function(arguments..., &failure);
    if (status != PG_OK) {
        throw error(status, std::shared_ptr<const pg_error>(failure, pg_error_free));
    }
}

/// An empty view may hold a null pointer, which to C would mean that the text was not given at all.
inline const char *pointer(std::string_view given) noexcept { return given.data() == nullptr ? "" : given.data(); }

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
    std::string_view name;
    std::string_view type;           ///< "text", "secret", "path", "url", "proxy", "boolean", "milliseconds", "bytes"
    std::string_view default_value;  ///< Empty where there is none.
    std::string_view range;          ///< The values that it takes, in words.
    std::string_view description;
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

/// Settings, by name. Moved, not copied; not to be used from two threads at once. Never blocks.
class config {
public:
    /// All at their defaults. Throws where the library that is loaded is not the one that this header describes;
    /// every client begins here, so nothing else was called before.
    config() {
        check_abi();
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

private:
    friend class client;

    static void check_abi() {
        if (pg_abi_version() != PG_ABI_VERSION) {
            const std::string text = "this program was compiled for ABI " + std::to_string(PG_ABI_VERSION) +
                                     " of paymentsgate-auth, and the library that is loaded has ABI " +
                                     std::to_string(pg_abi_version()) + "; install the one, or compile for the other";
            throw error(PG_ERR_SYSTEM, text.c_str());
        }
    }

    std::unique_ptr<pg_config, detail::freed_by<pg_config_free>> handle_;
};

/// An access token with the refresh token that buys the next pair. Immutable and counted: a copy is one more owner,
/// the last one zeroes the texts. Any number of threads may use it at once, in a forked child too. Nothing here
/// throws or blocks.
class token {
public:
    token(const token &other) noexcept : handle_(pg_token_ref(other.handle_)) {}
    token(token &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    token &operator=(token other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~token() { pg_token_free(handle_); }

    /// For `Authorization: Bearer …`. A secret. Borrowed; ends in a NUL.
    std::string_view access_token() const noexcept {
        return {pg_token_access_token(handle_), pg_token_access_token_length(handle_)};
    }

    /// The refresh token, if the service gave one. A secret, and more so. Borrowed; ends in a NUL.
    std::optional<std::string_view> refresh_token() const noexcept {
        const char *const text = pg_token_refresh_token(handle_);
        return text == nullptr ? std::nullopt
                               : std::optional(std::string_view(text, pg_token_refresh_token_length(handle_)));
    }

    /// The name under which the access token may be shown and logged: 16 hexadecimal digits. Borrowed.
    std::string_view fingerprint() const noexcept {
        const char *const text = pg_token_fingerprint(handle_);
        return text == nullptr ? std::string_view() : text;
    }

    /// The whole life of the access token, counted from just before its request was sent.
    std::chrono::milliseconds lifetime() const noexcept {
        return std::chrono::milliseconds(pg_token_lifetime_ms(handle_));
    }

    /// How far the service's own statements of the lifetime are apart; zero where they agree within a minute.
    std::chrono::milliseconds lifetime_disagreement() const noexcept {
        return std::chrono::milliseconds(pg_token_lifetime_disagreement_ms(handle_));
    }

    /// What is left of that life now; zero when it has expired.
    std::chrono::milliseconds remaining() const noexcept {
        return std::chrono::milliseconds(pg_token_remaining_ms(handle_));
    }

private:
    friend class client;

    explicit token(pg_token *owned) noexcept : handle_(owned) {}

    pg_token *handle_;
};

/// A way to one service: TLS, proxy, pool of connections, perhaps credentials. Moved, not copied. Any number of
/// threads may call it at once, a forked child too; it must outlive the calls. Tokens outlive it.
class client {
public:
    /// pg_client_new: the settings are copied and the files that they name are read; connects nowhere and starts no
    /// thread. Blocks only on reading files.
    explicit client(const config &from) {
        pg_client *made = nullptr;
        detail::call(pg_client_new, from.handle_.get(), &made);
        handle_.reset(made);
    }

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
        return made_by(pg_refresh_token_sized, handle_.get(), pg_token_access_token(pair.handle_),
                       pg_token_access_token_length(pair.handle_), pg_token_refresh_token(pair.handle_),
                       pg_token_refresh_token_length(pair.handle_), detail::milliseconds(limit));
    }

    /// The same with texts that the caller kept; std::nullopt for an access token that is not to be sent.
    token refresh(std::optional<std::string_view> access_token, std::string_view refresh_token,
                  timeout limit = {}) const {
        return made_by(pg_refresh_token_sized, handle_.get(), access_token ? detail::pointer(*access_token) : nullptr,
                       access_token ? access_token->size() : 0U, detail::pointer(refresh_token), refresh_token.size(),
                       detail::milliseconds(limit));
    }

private:
    template <typename Function, typename... Arguments>
    static token made_by(Function *function, Arguments... arguments) {
        pg_token *made = nullptr;
        detail::call(function, arguments..., &made);
        return token(made);
    }

    std::unique_ptr<pg_client, detail::freed_by<pg_client_free>> handle_;
};

}  // namespace pg

#endif  // PAYMENTSGATE_AUTH_HPP
