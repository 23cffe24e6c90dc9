// Issues a pair, refreshes it, and calls the API with the new access token.
//
//   c++ -std=c++17 issue_refresh.cpp $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o issue_refresh
//   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./issue_refresh
//
// The URL must not end in a slash. PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the
// emulator's.

#include <curl/curl.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include <paymentsgate_auth.hpp>

namespace {

std::chrono::seconds whole_seconds(std::chrono::milliseconds time) {
    return std::chrono::duration_cast<std::chrono::seconds>(time);
}

// A token is shown by its fingerprint, never by its text.
void show(const char *step, const pg::token &token) {
    std::cout << step << "token " << token.fingerprint() << "  lives " << whole_seconds(token.lifetime()).count()
              << " s  refresh token: " << (token.refresh_token() ? "yes" : "no") << std::endl;
}

std::string environment(const char *name) {
    const char *value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::size_t append(char *data, std::size_t, std::size_t length, void *body) {
    static_cast<std::string *>(body)->append(data, length);
    return length;
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

// GET /wallet.
void show_wallet(const pg::token &token) {
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), curl_easy_cleanup);
    if (!curl) {
        throw std::runtime_error("curl_easy_init failed: out of memory");
    }
    const std::string url = environment("PAYMENTSGATE_BASE_URL") + "/wallet";
    const std::string ca_file = environment("PAYMENTSGATE_TLS_CA_FILE");
    std::string body;
    long http_status = 0;
    check(curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str()));
    check(curl_easy_setopt(curl.get(), CURLOPT_HTTPAUTH, CURLAUTH_BEARER));
    check(curl_easy_setopt(curl.get(), CURLOPT_XOAUTH2_BEARER, token.access_token().data()));
    if (!ca_file.empty()) {
        check(curl_easy_setopt(curl.get(), CURLOPT_CAINFO, ca_file.c_str()));
    }
    check(curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, 15000L));
    check(curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, append));
    check(curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body));
    check(curl_easy_perform(curl.get()));
    check(curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http_status));
    std::cout << "wallet   HTTP " << http_status << "\n         " << body << std::endl;
    if (http_status != 200) {
        throw std::runtime_error("GET /wallet was refused; the body says why");
    }
}

// What to do, if the text does not say it.
const char *advice(const pg::error &error) {
    if (error.needs_credentials()) {
        return "issue a new pair; if that was refused, get other credentials";
    }
    return error.retryable() ? "try again" : "correct the setting or the call; the same call would fail again";
}

}  // namespace

int main() try {
    const curl_library curl;
    pg::config config;
    config.set_from_env();
    const pg::client client(config);

    const pg::token first = client.issue();
    show("issue    ", first);
    const pg::token second = client.refresh(first);
    show("refresh  ", second);
    show_wallet(second);
    return EXIT_SUCCESS;
} catch (const pg::error &error) {
    std::cerr << error.status_name() << ": " << error.what() << "\nWhat to do: " << advice(error);
    if (const auto wait = error.retry_after()) {
        std::cerr << ", in " << wait->count() << " ms";
    }
    std::cerr << std::endl;
    return EXIT_FAILURE;
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return EXIT_FAILURE;
}
