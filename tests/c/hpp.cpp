// The additions of the C++ header to the C interface: owners, moves, exceptions, durations. header.sh compiles this file
// in every standard, run.sh runs it with the emulator's PAYMENTSGATE_ variables.

#include <paymentsgate_auth.hpp>
#include <paymentsgate_auth.hpp>

#include <cstdlib>
#include <iostream>
#include <thread>
#include <type_traits>

#include "memory_store.hpp"

static_assert(std::is_nothrow_copy_constructible_v<pg::token> && std::is_nothrow_copy_assignable_v<pg::token>);
static_assert(std::is_nothrow_move_constructible_v<pg::token> && std::is_nothrow_move_assignable_v<pg::token>);
static_assert(std::is_nothrow_move_constructible_v<pg::client> && std::is_nothrow_move_assignable_v<pg::client>);
static_assert(std::is_nothrow_move_constructible_v<pg::config> && std::is_nothrow_move_assignable_v<pg::config>);
static_assert(!std::is_copy_constructible_v<pg::client> && !std::is_copy_constructible_v<pg::config>);
static_assert(std::is_nothrow_copy_constructible_v<pg::session> && std::is_nothrow_copy_assignable_v<pg::session>);
static_assert(std::is_nothrow_move_constructible_v<pg::session> && std::is_nothrow_move_assignable_v<pg::session>);
static_assert(std::is_nothrow_copy_constructible_v<pg::response> && std::is_nothrow_move_assignable_v<pg::response>);
static_assert(std::is_nothrow_copy_constructible_v<pg::event> && std::is_nothrow_move_assignable_v<pg::event>);
static_assert(std::is_nothrow_move_constructible_v<pg::queue> && !std::is_copy_constructible_v<pg::queue>);
static_assert(std::is_nothrow_destructible_v<pg::session> && std::is_nothrow_destructible_v<pg::token>);
static_assert(std::is_base_of_v<std::runtime_error, pg::error> && std::is_nothrow_copy_constructible_v<pg::error>);

namespace {

using namespace std::chrono_literals;

int checks = 0;

void check(bool holds, const char *condition, int line) {
    ++checks;
    if (!holds) {
        std::cerr << "hpp.cpp:" << line << ": does not hold: " << condition << std::endl;
        std::exit(EXIT_FAILURE);
    }
}

#define CHECK(condition) check((condition), #condition, __LINE__)

// The error that `work` throws, copied out of its handler.
template <typename Work>
pg::error thrown_by(Work work) {
    try {
        work();
    } catch (const pg::error &error) {
        return error;
    }
    return {PG_OK, "nothing was thrown"};
}

void test_errors_carry_everything(const pg::client &client) {
    const pg::error refused = thrown_by([&] { client.refresh(std::nullopt, "no-such-token"); });
    CHECK(refused.status() == PG_ERR_REFUSED && refused.status_name() == "PG_ERR_REFUSED");
    CHECK(std::string_view(refused.what()).size() > 0);
    CHECK(refused.http_status() == 401);
    CHECK(refused.server_code().has_value() && refused.server_message().has_value());
    CHECK(!refused.retry_after() && !refused.retryable());
    CHECK(refused.needs_credentials() && refused.fate() == PG_FATE_REFUSED);

    const pg::error unset = thrown_by([] { pg::client{pg::config()}; });
    CHECK(unset.status() == PG_ERR_MISSING_SETTING);
    CHECK(!unset.http_status() && !unset.server_code() && !unset.server_message() && !unset.server_details());
}

void test_durations(const pg::client &client) {
    CHECK(thrown_by([&] { client.issue(0ms); }).status() == PG_ERR_TIMEOUT);
    CHECK(thrown_by([&] { client.issue(-1ms); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { client.issue(-2h); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(client.issue(10s).lifetime() > 0ms);
}

// An empty text is a value, a missing one is not: the settings must not replace an empty text.
void test_empty_views_are_texts(const pg::client &client) {
    CHECK(thrown_by([&] { client.issue(std::string_view(), std::string_view()); }).status() != PG_OK);
    CHECK(thrown_by([&] { client.refresh("a", std::string_view()); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([] { pg::config().set("user_agent", {}); }).status() == PG_ERR_INVALID_SETTING);
}

void test_tokens_are_shared(pg::client client) {
    pg::token first = client.issue();
    pg::token copy = first;
    CHECK(copy.access_token().data() == first.access_token().data());
    const pg::token moved = std::move(first);
    first = client.refresh(moved);
    CHECK(first.fingerprint() != copy.fingerprint() && moved.fingerprint() == copy.fingerprint());
    CHECK(first.refresh_token() && first.refresh_token() != copy.refresh_token());
    copy = first;
    CHECK(copy.remaining() > 0ms && copy.remaining() <= copy.lifetime() && copy.lifetime_disagreement() == 0ms);
    const pg::client other = std::move(client);
    CHECK(thrown_by([&] { client.issue(); }).status() == PG_ERR_NULL_POINTER);
    CHECK(thrown_by([&] { client.metrics(); }).status() == PG_ERR_NULL_POINTER);
    CHECK(other.metrics().find("paymentsgate_auth_build_info{") != std::string::npos);
    CHECK(other.refresh(copy.access_token(), *copy.refresh_token()).access_token().size() > 0);
}

void test_sessions(const pg::config &config) {
    std::optional<pg::client> client(config);
    const pg::session session(*client, config);
    client.reset();
    const volatile std::uint64_t *const word = session.generation_word();
    CHECK(!session.try_token() && *word == 0);
    const pg::token first = session.token(10s);
    CHECK(*word != 0);
    CHECK(first.generation() == 1 && !first.refresh_token() && first.remaining() > 0ms);
    CHECK(session.try_token()->access_token().data() == first.access_token().data());
    CHECK(session.token(0ms, 2h).fingerprint() == first.fingerprint());

    session.reject(first, 403);
    CHECK(session.token().fingerprint() == first.fingerprint());
    session.reject(first);
    const pg::token second = session.token();
    CHECK(second.generation() == 2 && second.fingerprint() != first.fingerprint());
    const pg::token third = session.refresh(10s);
    CHECK(third.generation() == 3 && third.fingerprint() != second.fingerprint() && !third.refresh_token());
    CHECK(session.token().fingerprint() == third.fingerprint());
    CHECK(session.health().find(third.fingerprint()) != std::string::npos);
    CHECK(session.health().find(third.access_token()) == std::string::npos);

    const pg::error late = thrown_by([&] { session.refresh(0ms); });
    CHECK(late.status() == PG_ERR_TIMEOUT && late.cause() == PG_OK);
    CHECK(thrown_by([&] { session.refresh(-1ms); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.token(-1ms); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.token({}, -1ms); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.reject(second, 0); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.set_credentials({}, "k"); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.set_credentials({"a\0b", 3}, "k"); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { session.set_credentials("a", "k"); }).status() == PG_ERR_INVALID_PEM);
    const pg::error foreign = thrown_by([&] { session.set_credentials("another-account", std::getenv("PG_SANDBOX_KEY")); });
    CHECK(foreign.status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(std::string_view(foreign.what()).find("open another session") != std::string_view::npos);
}

void test_sessions_are_shared(const pg::client &client, const pg::config &config) {
    pg::session first(client, config);
    const pg::session copy = first;
    pg::session moved = std::move(first);
    CHECK(thrown_by([&] { first.token(); }).status() == PG_ERR_NULL_POINTER);
    const pg::token token = copy.token();
    CHECK(moved.token().access_token().data() == token.access_token().data());

    moved.close(10s);
    CHECK(thrown_by([&] { copy.token(); }).status() == PG_ERR_CLOSED);
    CHECK(thrown_by([&] { copy.try_token(); }).status() == PG_ERR_CLOSED);
    CHECK(thrown_by([&] { copy.reject(token); }).status() == PG_ERR_CLOSED);
    CHECK(thrown_by([&] { copy.health(); }).status() == PG_ERR_CLOSED);
    copy.close();
    moved = pg::session(client, config);
    CHECK(moved.token().generation() == 1 && token.remaining() > 0ms);

    const pg::error nobody = thrown_by([] {
        pg::config bare;
        bare.set("base_url", "https://api.example");
        pg::session(pg::client(bare), bare);
    });
    CHECK(nobody.status() == PG_ERR_NO_CREDENTIALS);
}

void test_requests(const pg::session &session) {
    const pg::headers trace{{"X-Trace", "7"}};
    const pg::response wallet = session.request("GET", "/wallet", trace);
    CHECK(wallet.status() == 200 && wallet.body().front() == '{' && wallet.body().back() == '}');
    CHECK(wallet.header("Content-Type") == "application/json" && !wallet.header("x-no-such"));
    CHECK(wallet.headers().size() >= 2);
    for (const auto &[name, value] : wallet.headers()) {
        CHECK(wallet.header(std::string(name)) == value);
    }
    // An empty body is a body, and a missing one is none; neither is a pay-in.
    CHECK(session.request("POST", "/deals/payin", {}, "").status() == 400);
    CHECK(session.request("POST", "/deals/payin", {}, std::string_view()).status() == 400);
    CHECK(session.request("POST", "/deals/payin", {}, std::nullopt, 10s).status() == 400);
    CHECK(session.request("POST", "/deals/payin", trace, "{}", 10s).status() == 400);

    const auto refused = [&](auto... arguments) { return thrown_by([&] { session.request(arguments...); }).status(); };
    CHECK(refused("get", "/wallet") == PG_ERR_INVALID_ARGUMENT);
    CHECK(refused("GET", "/wallet/..") == PG_ERR_INVALID_ARGUMENT);
    CHECK(refused("GET", std::string("/wallet\0/..", 10)) == PG_ERR_INVALID_ARGUMENT);
    CHECK(refused("GET", "/wallet", pg::headers{{"Authorization", "Bearer mine"}}) == PG_ERR_INVALID_ARGUMENT);
    CHECK(refused("GET", "/wallet", pg::headers{{"X-Nul", std::string("a\0b", 3)}}) == PG_ERR_INVALID_ARGUMENT);
    CHECK(refused("GET", "/wallet", pg::headers{}, std::nullopt, 0ms) == PG_ERR_TIMEOUT);
    CHECK(refused("GET", "/wallet", pg::headers{}, std::nullopt, -1ms) == PG_ERR_INVALID_ARGUMENT);
}

void test_queues(const pg::session &session) {
    pg::queue made;
    const pg::queue queue = std::move(made);
    CHECK(thrown_by([&] { made.poll(0ms); }).status() == PG_ERR_NULL_POINTER);
    CHECK(!queue.poll(0ms) && !queue.poll(1ms) && queue.fd() >= 0 && queue.fd() == queue.fd());
    CHECK(thrown_by([&] { queue.poll(-1ms); }).status() == PG_ERR_INVALID_ARGUMENT);

    session.subscribe(queue, 1, PG_LOG_DEBUG);
    CHECK(thrown_by([&] { session.token_start(queue, 1); }).status() == PG_ERR_INVALID_ARGUMENT);
    queue.cancel(1);
    const std::optional<pg::event> ended = queue.poll();
    CHECK(ended->kind() == PG_EVENT_ENDED && ended->id() == 1 && ended->status() == PG_ERR_CANCELED);
    CHECK(ended->error()->status_name() == "PG_ERR_CANCELED" && ended->text().empty());
    CHECK(!ended->token() && !ended->response() && ended->log_level() == PG_LOG_NONE);

    session.token_start(queue, 2, 10s, 1s);
    std::optional<pg::event> event = queue.poll();
    const pg::token token = *event->token();
    CHECK(event->kind() == PG_EVENT_TOKEN && event->id() == 2 && event->status() == PG_OK && !event->error());
    CHECK(token.access_token() == session.token().access_token());

    session.request_start(queue, 3, "GET", "/wallet", {{"X-Trace", "7"}}, std::nullopt, 10s);
    event = queue.poll();
    const pg::response response = *event->response();
    CHECK(event->kind() == PG_EVENT_RESPONSE && event->id() == 3 && !event->token());
    event.reset();
    CHECK(response.status() == 200 && !response.body().empty() && token.remaining() > 0ms);

    session.subscribe(queue, 4, PG_LOG_INFO);
    session.close();
    event = queue.poll();
    CHECK(event->kind() == PG_EVENT_LOG && event->log_level() == PG_LOG_INFO && !event->text().empty());
    // An error outlives its event.
    const pg::error closed = *queue.poll()->error();
    CHECK(closed.status() == PG_ERR_CLOSED && std::string_view(closed.what()).size() > 0 && !closed.retryable());
    CHECK(!queue.poll(0ms));
}

void test_bare_calls_on_a_queue(const pg::client &client) {
    const pg::queue queue;
    const std::string key = std::getenv("PG_SANDBOX_KEY");
    client.issue_start(queue, 1);
    const pg::token first = *queue.poll()->token();
    CHECK(first.refresh_token() && first.generation() == 0);
    client.refresh_start(queue, 2, first, 10s);
    const pg::token second = *queue.poll()->token();
    CHECK(second.fingerprint() != first.fingerprint());
    client.refresh_start(queue, 3, std::nullopt, std::string(*second.refresh_token()));
    CHECK(queue.poll()->token().has_value());
    client.refresh_start(queue, 4, std::string(second.access_token()), std::string(*second.refresh_token()), 10s);
    CHECK(queue.poll()->error()->fate() == PG_FATE_REFUSED);
    client.issue_start(queue, 5, "another-account", key, 10s);
    CHECK(queue.poll()->error()->needs_credentials());
    CHECK(thrown_by([&] { client.issue_start(queue, 6, "a", "b"); }).status() == PG_ERR_INVALID_PEM);
    CHECK(thrown_by([&] { client.issue_start(queue, 6, std::string("a\0b", 3), key); }).status() ==
          PG_ERR_INVALID_ARGUMENT);
    CHECK(thrown_by([&] { client.refresh_start(queue, 6, std::nullopt, ""); }).status() == PG_ERR_INVALID_ARGUMENT);
    CHECK(!queue.poll(0ms));
}

void test_stores(const pg::client &client) {
    const auto kept = std::make_shared<memory_store>();
    const std::weak_ptr<memory_store> watched = kept;
    pg::check_store(kept);
    CHECK(thrown_by([] { pg::check_store(nullptr); }).status() == PG_ERR_NULL_POINTER);
    CHECK(thrown_by([] { pg::config().set_store(nullptr); }).status() == PG_ERR_NULL_POINTER);
    CHECK(kept.use_count() == 1);
    {
        pg::config config;
        config.set_from_env().set_store(kept);
        CHECK(kept.use_count() == 2);
        const pg::session one(client, config), other(client, config);
        CHECK(one.token().fingerprint() == other.token().fingerprint());
        config.set("store", "file:/nowhere");
        CHECK(thrown_by([&] { pg::session(client, config); }).status() == PG_ERR_CONFLICTING_SETTINGS);
    }
    for (int i = 0; i < 10000 && kept.use_count() > 1; ++i) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK(kept.use_count() == 1);

    const auto broken = std::make_shared<memory_store>();
    broken->throws = true;
    const pg::error failed = thrown_by([&] { pg::check_store(broken); });
    CHECK(failed.status() == PG_ERR_STORE && std::string_view(failed.what()).find("the disk is full") != std::string::npos);
    broken->throws = false;
    broken->throws_nonsense = true;
    CHECK(thrown_by([&] { pg::check_store(broken); }).status() == PG_ERR_STORE);
    broken->throws_nonsense = false;
    broken->ignores_versions = true;
    CHECK(thrown_by([&] { pg::check_store(broken); }).status() == PG_ERR_INVALID_ARGUMENT);
}

void test_the_table_of_settings() {
    CHECK(pg::settings().size() == pg_setting_count() && pg::settings()[0].name == "base_url");
    for (const pg::setting &row : pg::settings()) {
        CHECK(!row.name.empty() && !row.type.empty() && !row.range.empty() && !row.description.empty());
        if (!row.default_value.empty()) {
            pg::config().set(std::string(row.name), row.default_value);
        }
    }
    CHECK(pg::version() == pg_version());
}

}  // namespace

int main() try {
    pg::config config;
    config.set_from_env().set("user_agent", "shop/1.0");
    const pg::client client(config);
    test_errors_carry_everything(client);
    test_durations(client);
    test_empty_views_are_texts(client);
    test_tokens_are_shared(pg::client(config));
    test_sessions(config);
    test_sessions_are_shared(client, config);
    test_bare_calls_on_a_queue(client);
    const pg::session session(client, config);
    test_requests(session);
    test_queues(session);
    test_stores(client);
    test_the_table_of_settings();
    std::cout << "ok hpp: " << checks << " checks" << std::endl;
    return EXIT_SUCCESS;
} catch (const pg::error &error) {
    std::cerr << error.status_name() << ": " << error.what() << std::endl;
    return EXIT_FAILURE;
}
