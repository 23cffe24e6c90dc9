// The way a program lives with a session: it asks for a token before each request, and reports the one that the
// service refuses. Everything else is the session's work.
//
//   c++ -std=c++17 session.cpp $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o session
//   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./session
//
// The URL goes without a slash at its end. PAYMENTSGATE_TLS_CA_FILE names a further certificate authority, for
// example the emulator's.

#include <curl/curl.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include <paymentsgate_auth.hpp>

namespace {

using namespace std::chrono_literals;

constexpr int requests = 3;
constexpr auto patience = 5s;

std::string environment(const char *name) {
    const char *value = std::getenv(name);
    return value == nullptr ? "" : value;
}

void check(CURLcode code) {
    if (code != CURLE_OK) {
        throw std::runtime_error(std::string("wallet: ") + curl_easy_strerror(code) +
                                 "; check the address and the network");
    }
}

struct curl_library {
    curl_library() { check(curl_global_init(CURL_GLOBAL_DEFAULT)); }
    ~curl_library() { curl_global_cleanup(); }
};

std::size_t ignore(char *, std::size_t, std::size_t length, void *) { return length; }

// GET /wallet; the HTTP status.
int get_wallet(const pg::token &token) {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
    if (!curl) {
        throw std::runtime_error("curl_easy_init failed: out of memory");
    }
    const std::string url = environment("PAYMENTSGATE_BASE_URL") + "/wallet";
    const std::string ca_file = environment("PAYMENTSGATE_TLS_CA_FILE");
    long http_status = 0;
    check(curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()));
    check(curl_easy_setopt(curl.get(), CURLOPT_HTTPAUTH, CURLAUTH_BEARER));
    check(curl_easy_setopt(curl.get(), CURLOPT_XOAUTH2_BEARER, token.access_token().data()));
    if (!ca_file.empty()) {
        check(curl_easy_setopt(curl.get(), CURLOPT_CAINFO, ca_file.c_str()));
    }
    check(curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, 15000L));
    check(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, ignore));
    check(curl_easy_perform(curl.get()));
    check(curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http_status));
    return static_cast<int>(http_status);
}

// One request with the session's token; its HTTP status.
int request_once(const pg::session &session) {
    // Fresh, it comes from memory, so nothing is won by keeping it.
    const pg::token token = session.token(patience);
    const int http_status = get_wallet(token);
    // A token is shown by its fingerprint, never by its text.
    std::cout << "wallet     HTTP " << http_status << " with " << token.fingerprint() << ", generation "
              << token.generation() << ", " << token.remaining() / 1s << " s left" << std::endl;
    // Of a 401 the session makes a new token; every other status it leaves alone.
    session.reject(token, http_status);
    return http_status;
}

// A token may be withdrawn at any time, so a request is tried once more, but not again.
void request(const pg::session &session) {
    int http_status = request_once(session);
    if (http_status == 401) {
        http_status = request_once(session);
    }
    if (http_status != 200) {
        throw std::runtime_error("GET /wallet was refused");
    }
}

}  // namespace

int main() try {
    const curl_library curl;
    pg::config config;
    config.set_from_env();
    // A program opens one session for an account, and its threads share it.
    const pg::session session(pg::client(config), config);

    for (int i = 0; i < requests; ++i) {
        request(session);
    }
    std::cout << "health     " << session.health() << std::endl;
    session.close(patience);
    return EXIT_SUCCESS;
} catch (const pg::error &error) {
    std::cerr << error.status_name() << ": " << error.what() << std::endl;
    return EXIT_FAILURE;
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return EXIT_FAILURE;
}
