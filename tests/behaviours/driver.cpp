// Runs the table of behaviours through the C++ header. The commands and answers are those of driver.c; a command that C++
// cannot express, such as a name that is NULL, is answered with the status `unsupported`.

#include <algorithm>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>

#include <paymentsgate_auth.hpp>

#include "../c/memory_store.hpp"

namespace {

using text = std::optional<std::string>;

struct state {
    pg::config config;
    pg::config without_credentials;
    std::optional<pg::client> client;
    std::optional<pg::token> token;
    std::optional<pg::session> session;
    std::optional<pg::queue> news;
    pg::queue under_way;
};

constexpr std::uint64_t started = 8;

struct bad_command : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Answers.

void put(std::string_view key, std::string_view value) {
    constexpr char digits[] = "0123456789abcdef";
    std::cout << key << '\t';
    for (const char byte : value) {
        const auto code = static_cast<unsigned char>(byte);
        std::cout << digits[code >> 4U] << digits[code & 15U];
    }
    std::cout << '\n';
}

void put_number(std::string_view key, long long value) { put(key, std::to_string(value)); }

void put_optional(std::string_view key, const text &value) {
    if (value) {
        put(key, *value);
    }
}

void put_error(const pg::error &error) {
    put("status", error.status_name());
    put("text", error.what());
    if (const auto status = error.http_status()) {
        put_number("http_status", *status);
    }
    put_optional("server_code", error.server_code());
    put_optional("server_message", error.server_message());
    put_optional("server_details", error.server_details());
    if (const auto wait = error.retry_after()) {
        put_number("retry_after_ms", wait->count());
    }
    if (error.cause() != PG_OK) {
        put("cause", pg_status_name(error.cause()));
    }
    put_number("retryable", error.retryable() ? 1 : 0);
    put_number("needs_credentials", error.needs_credentials() ? 1 : 0);
    put_number("fate", error.fate());
}

void put_token(const pg::token &token) {
    put("fingerprint", token.fingerprint());
    put_number("access_length", static_cast<long long>(token.access_token().size()));
    put_number("refresh_length", static_cast<long long>(token.refresh_token().value_or("").size()));
    put_number("lifetime_ms", token.lifetime().count());
    put_number("disagreement_ms", token.lifetime_disagreement().count());
    put_number("remaining_ms", token.remaining().count());
    put_number("generation", static_cast<long long>(token.generation()));
}

void put_response(const pg::response &response) {
    put_number("response_status", response.status());
    if (const auto type = response.header("Content-Type")) {
        put("response_type", *type);
    }
    // In alphabetical order, since languages keep headers in different orders.
    std::vector<std::string> lines;
    for (const auto &[name, value] : response.headers()) {
        lines.push_back(std::string(name).append(": ").append(value));
    }
    std::sort(lines.begin(), lines.end());
    std::string all;
    for (const auto &line : lines) {
        all.append(all.empty() ? "" : "\n").append(line);
    }
    put("response_headers", all);
    put("response_body", response.body());
}

// Words.

std::vector<std::string> split(const std::string &line) {
    std::vector<std::string> words;
    std::size_t start = 0;
    for (std::size_t tab; (tab = line.find('\t', start)) != std::string::npos; start = tab + 1) {
        words.push_back(line.substr(start, tab - start));
    }
    words.push_back(line.substr(start));
    return words;
}

text text_of(const std::string &word, const state &state) {
    if (word == "-") {
        return std::nullopt;
    }
    if (word == "@access") {
        return state.token ? text(state.token->access_token()) : std::nullopt;
    }
    if (word == "@refresh") {
        const auto refresh = state.token ? state.token->refresh_token() : std::nullopt;
        return refresh ? text(*refresh) : std::nullopt;
    }
    if (word.empty() || word[0] != 'x' || word.size() % 2 == 0) {
        throw bad_command("a text is none of -, x…, @access, @refresh");
    }
    std::string bytes;
    for (std::size_t i = 1; i < word.size(); i += 2) {
        bytes.push_back(static_cast<char>(std::stoi(word.substr(i, 2), nullptr, 16)));
    }
    return bytes;
}

pg::timeout timeout_of(const std::string &word) {
    const long long timeout_ms = std::stoll(word);
    return timeout_ms == -1 ? pg::timeout() : std::chrono::milliseconds(timeout_ms);
}

// Commands. Each returns whether C++ can express it.

bool set(state &state, const text &name, const text &value) {
    if (!name || !value) {
        return false;
    }
    state.config.set(*name, *value);
    if (*name != "credentials_file" && *name != "account_id" && name->rfind("public_key", 0) != 0) {
        state.without_credentials.set(*name, *value);
    }
    put("status", "PG_OK");
    return true;
}

bool issue(state &state, const text &account, const text &key, pg::timeout timeout) {
    if (!state.client || account.has_value() != key.has_value()) {
        return false;
    }
    state.token = account ? state.client->issue(*account, *key, timeout) : state.client->issue(timeout);
    put("status", "PG_OK");
    put_token(*state.token);
    return true;
}

// A pair from the last call is passed as one token, so that both forms of the call are tested.
bool refresh(state &state, const std::string &access, const std::string &refresh, pg::timeout timeout) {
    if (!state.client) {
        return false;
    }
    if (state.token && access == "@access" && refresh == "@refresh") {
        state.token = state.client->refresh(*state.token, timeout);
    } else {
        const text refresh_token = text_of(refresh, state);
        if (!refresh_token) {
            return false;
        }
        state.token = state.client->refresh(text_of(access, state), *refresh_token, timeout);
    }
    put("status", "PG_OK");
    put_token(*state.token);
    return true;
}

bool open(state &state) {
    if (!state.client) {
        return false;
    }
    state.session.reset();
    state.session.emplace(*state.client, state.config);
    put("status", "PG_OK");
    return true;
}

// Its client has no credentials either, since the session would use them.
bool open_pair(state &state, const text &access, const text &refresh, const text &expires_in_s) {
    if (!access || !refresh) {
        return false;
    }
    state.session.reset();
    state.without_credentials.set("access_token", *access).set("refresh_token", *refresh);
    if (expires_in_s) {
        state.without_credentials.set("access_token_expires_in_s", *expires_in_s);
    }
    state.session.emplace(pg::client(state.without_credentials), state.without_credentials);
    put("status", "PG_OK");
    return true;
}

// A call without waiting has its own function, with the same result.
bool token(state &state, pg::timeout timeout, std::chrono::milliseconds min_remaining) {
    if (!state.session) {
        return false;
    }
    state.token = state.session->token(timeout, min_remaining);
    if (timeout == std::chrono::milliseconds(0) && min_remaining.count() == 0) {
        state.token = state.session->try_token().value();
    }
    put("status", "PG_OK");
    put_token(*state.token);
    return true;
}

bool renew(state &state, pg::timeout timeout) {
    if (!state.session) {
        return false;
    }
    state.token = state.session->refresh(timeout);
    put("status", "PG_OK");
    put_token(*state.token);
    return true;
}

bool reject(state &state, int http_status) {
    if (!state.session || !state.token) {
        return false;
    }
    state.session->reject(*state.token, http_status);
    put("status", "PG_OK");
    return true;
}

bool credentials(state &state, const text &account, const text &key) {
    if (!state.session || !account || !key) {
        return false;
    }
    state.session->set_credentials(*account, *key);
    put("status", "PG_OK");
    return true;
}

pg::headers headers_of(const text &lines) {
    pg::headers headers;
    std::istringstream given(lines.value_or(""));
    for (std::string name, value; std::getline(given, name);) {
        std::getline(given, value);
        headers.emplace_back(name, value);
    }
    return headers;
}

bool request(state &state, const text &method, const text &path, const text &headers, const text &body,
             pg::timeout timeout) {
    if (!state.session || !method || !path) {
        return false;
    }
    const pg::response response = state.session->request(*method, *path, headers_of(headers), body, timeout);
    put("status", "PG_OK");
    put_response(response);
    return true;
}

// Starts a call. Its words are those of the waiting command.
bool start(state &state, const std::vector<std::string> &words) {
    const std::string &call = words[1];
    const pg::timeout timeout = timeout_of(words[call == "token" ? 2 : words.size() - 1]);
    const auto given = [&](std::size_t word) { return text_of(words[word], state); };
    if (call == "token" && state.session && words.size() == 4) {
        state.session->token_start(state.under_way, started, timeout, std::chrono::milliseconds(std::stoll(words[3])));
    } else if (call == "renew" && state.session && words.size() == 3) {
        state.session->refresh_start(state.under_way, started, timeout);
    } else if (call == "issue" && state.client && words.size() == 5) {
        if (given(2)) {
            state.client->issue_start(state.under_way, started, *given(2), given(3).value(), timeout);
        } else {
            state.client->issue_start(state.under_way, started, timeout);
        }
    } else if (call == "refresh" && state.client && words.size() == 5) {
        if (state.token && words[2] == "@access" && words[3] == "@refresh") {
            state.client->refresh_start(state.under_way, started, *state.token, timeout);
        } else {
            state.client->refresh_start(state.under_way, started, given(2), given(3).value(), timeout);
        }
    } else if (call == "request" && state.session && words.size() == 7) {
        state.session->request_start(state.under_way, started, given(2).value(), given(3).value(), headers_of(given(4)),
                                     given(5), timeout);
    } else {
        return false;
    }
    put("status", "PG_OK");
    return true;
}

// Waits for the descriptor, as a program with an event loop does.
bool end(state &state) {
    pollfd readable{state.under_way.fd(), POLLIN, 0};
    if (poll(&readable, 1, -1) != 1) {
        throw bad_command("the queue cannot be waited for");
    }
    const auto event = state.under_way.poll(std::chrono::milliseconds(0));
    if (!event || event->id() != started) {
        throw bad_command("there is no event, or one of another number");
    }
    if (const auto failure = event->error()) {
        throw *failure;
    }
    put("status", "PG_OK");
    if (auto token = event->token()) {
        state.token = *token;
        put_token(*token);
    }
    if (const auto response = event->response()) {
        put_response(*response);
    }
    return true;
}

std::shared_ptr<memory_store> store(const std::string &kind) {
    auto made = std::make_shared<memory_store>();
    made->ignores_versions = kind == "forgetful";
    made->throws = kind == "down";
    return made;
}

bool settings() {
    std::string all;
    for (const auto &row : pg::settings()) {
        all.append(all.empty() ? "" : "\n").append(row.name).append("\t").append(row.type).append("\t");
        all.append(row.default_value).append("\t").append(row.range).append("\t").append(row.description);
    }
    put("status", "PG_OK");
    put("settings", all);
    return true;
}

bool subscribe(state &state, int level) {
    if (!state.session) {
        return false;
    }
    state.news.emplace();
    state.session->subscribe(*state.news, 7, static_cast<pg_log_level>(level));
    put("status", "PG_OK");
    return true;
}

std::string_view name_of(pg_kind kind) {
    switch (kind) {
        case PG_EVENT_ROTATED: return "rotated";
        case PG_EVENT_REFRESH_FAILED: return "refresh_failed";
        case PG_EVENT_AMBIGUOUS: return "ambiguous";
        case PG_EVENT_CREDENTIALS_REJECTED: return "credentials_rejected";
        case PG_EVENT_DEGRADED: return "degraded";
        case PG_EVENT_RECOVERED: return "recovered";
        case PG_EVENT_LOG: return "log";
        case PG_EVENT_ENDED: return "ended";
        default: return "unknown";
    }
}

std::string_view name_of(pg_log_level level) {
    switch (level) {
        case PG_LOG_ERROR: return "error";
        case PG_LOG_WARN: return "warn";
        case PG_LOG_INFO: return "info";
        case PG_LOG_DEBUG: return "debug";
        default: return "unknown";
    }
}

// Takes all waiting events. A pair that the host keeps becomes the last token.
bool events(state &state) {
    if (!state.news) {
        return false;
    }
    std::string kinds, log;
    int kept = 0;
    while (const auto event = state.news->poll(std::chrono::milliseconds(0))) {
        kinds.append(kinds.empty() ? "" : ",").append(name_of(event->kind()));
        if (const auto token = event->token(); token && token->refresh_token()) {
            state.token = *token;
            ++kept;
        }
        if (event->kind() == PG_EVENT_LOG) {
            log.append(log.empty() ? "" : "\n").append(name_of(event->log_level())).append(" ").append(event->text());
        }
    }
    put("status", "PG_OK");
    put("events", kinds);
    put_number("kept", kept);
    put("log", log);
    return true;
}

bool health(state &state) {
    if (!state.session) {
        return false;
    }
    const std::string json = state.session->health();
    put("status", "PG_OK");
    put("health", json);
    return true;
}

bool close(state &state, pg::timeout timeout) {
    if (!state.session) {
        return false;
    }
    state.session->close(timeout);
    put("status", "PG_OK");
    return true;
}

bool run(state &state, const std::vector<std::string> &words) {
    const std::string &command = words[0];
    if (command == "set" && words.size() == 3) {
        return set(state, text_of(words[1], state), text_of(words[2], state));
    }
    if (command == "env" && words.size() == 1) {
        state.config.set_from_env();
        state.without_credentials.set_from_env();
        put("status", "PG_OK");
        return true;
    }
    if (command == "client" && words.size() == 1) {
        state.client.reset();
        state.client.emplace(state.config);
        put("status", "PG_OK");
        return true;
    }
    if (command == "issue" && words.size() == 4) {
        return issue(state, text_of(words[1], state), text_of(words[2], state), timeout_of(words[3]));
    }
    if (command == "refresh" && words.size() == 4) {
        return refresh(state, words[1], words[2], timeout_of(words[3]));
    }
    if (command == "open" && words.size() == 1) {
        return open(state);
    }
    if (command == "open_pair" && words.size() == 4) {
        return open_pair(state, text_of(words[1], state), text_of(words[2], state), text_of(words[3], state));
    }
    if (command == "token" && words.size() == 3) {
        return token(state, timeout_of(words[1]), std::chrono::milliseconds(std::stoll(words[2])));
    }
    if (command == "renew" && words.size() == 2) {
        return renew(state, timeout_of(words[1]));
    }
    if (command == "reject" && words.size() == 2) {
        return reject(state, std::stoi(words[1]));
    }
    if (command == "credentials" && words.size() == 3) {
        return credentials(state, text_of(words[1], state), text_of(words[2], state));
    }
    if (command == "request" && words.size() == 6) {
        return request(state, text_of(words[1], state), text_of(words[2], state), text_of(words[3], state),
                       text_of(words[4], state), timeout_of(words[5]));
    }
    if (command == "subscribe" && words.size() == 2) {
        return subscribe(state, std::stoi(words[1]));
    }
    if (command == "events" && words.size() == 1) {
        return events(state);
    }
    if (command == "health" && words.size() == 1) {
        return health(state);
    }
    if (command == "metrics" && words.size() == 1 && state.client) {
        const std::string metrics = state.client->metrics();
        put("status", "PG_OK");
        put("metrics", metrics);
        return true;
    }
    if (command == "close" && words.size() == 2) {
        return close(state, timeout_of(words[1]));
    }
    if (command == "start" && words.size() >= 3) {
        return start(state, words);
    }
    if (command == "cancel" && words.size() == 1) {
        state.under_way.cancel(started);
        put("status", "PG_OK");
        return true;
    }
    if (command == "end" && words.size() == 1) {
        return end(state);
    }
    if (command == "store" && words.size() == 2) {
        state.config.set_store(store(words[1]));
        put("status", "PG_OK");
        return true;
    }
    if (command == "check_store" && words.size() == 2) {
        pg::check_store(store(words[1]));
        put("status", "PG_OK");
        return true;
    }
    if (command == "version" && words.size() == 1) {
        put("status", "PG_OK");
        put("version", pg::version());
        return true;
    }
    if (command == "settings" && words.size() == 1) {
        return settings();
    }
    if (command == "raw" && words.size() == 2) {
        return false;
    }
    throw bad_command("a line is not a command with its words");
}

}  // namespace

int main() try {
    state state;
    for (std::string line; std::getline(std::cin, line);) {
        try {
            if (!run(state, split(line))) {
                put("status", "unsupported");
            }
        } catch (const pg::error &error) {
            put_error(error);
        }
        std::cout << std::endl;
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << "driver: " << error.what() << std::endl;
    return 2;
}
