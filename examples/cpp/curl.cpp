// A program with its own HTTP client, libcurl: each request carries the session's token, and a 401 is reported to the
// session.
//
//   c++ -std=c++17 curl.cpp $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o curl
//   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./curl
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
#include <utility>

#include <paymentsgate_auth.hpp>

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds timeout = 15s;

void check(CURLcode code) {
    if (code != CURLE_OK) {
        throw std::runtime_error(std::string("wallet: ") + curl_easy_strerror(code) +
                                 "; check the address and the network");
    }
}

std::string environment(const char *name) {
    const char *const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

struct curl_library {
    curl_library() { check(curl_global_init(CURL_GLOBAL_DEFAULT)); }
    ~curl_library() { curl_global_cleanup(); }
    curl_library(const curl_library &) = delete;
    curl_library &operator=(const curl_library &) = delete;
};

// Requests to one address with a session's token.
class api {
public:
    api(pg::session session, const std::string &url, const std::string &ca_file)
        : session_(std::move(session)), curl_(curl_easy_init(), curl_easy_cleanup) {
        if (!curl_) {
            throw std::runtime_error("curl_easy_init failed: out of memory");
        }
        check(curl_easy_setopt(curl_.get(), CURLOPT_URL, url.c_str()));
        check(curl_easy_setopt(curl_.get(), CURLOPT_HTTPAUTH, CURLAUTH_BEARER));
        check(curl_easy_setopt(curl_.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count())));
        if (!ca_file.empty()) {
            check(curl_easy_setopt(curl_.get(), CURLOPT_CAINFO, ca_file.c_str()));
        }
    }

    // After a 401, reports it to the session and repeats the request once. A second 401 has another cause than the token.
    long get() {
        const pg::token token = session_.token(timeout);
        const long status = get_with(token);
        if (status != 401) {
            return status;
        }
        session_.reject(token);
        return get_with(session_.token(timeout));
    }

private:
    // libcurl copies the token. By default it sends the token to no other host: leave CURLOPT_UNRESTRICTED_AUTH off.
    long get_with(const pg::token &token) {
        long status = 0;
        check(curl_easy_setopt(curl_.get(), CURLOPT_XOAUTH2_BEARER, token.access_token().data()));
        check(curl_easy_perform(curl_.get()));
        check(curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status));
        std::cout << std::endl << "HTTP " << status << std::endl;
        return status;
    }

    pg::session session_;
    std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
};

}  // namespace

int main() try {
    const curl_library curl;
    pg::config config;
    config.set_from_env();
    api wallet(pg::session(pg::client(config), config), environment("PAYMENTSGATE_BASE_URL") + "/wallet",
               environment("PAYMENTSGATE_TLS_CA_FILE"));
    return wallet.get() == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const pg::error &error) {
    std::cerr << error.status_name() << ": " << error.what() << std::endl;
    return EXIT_FAILURE;
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return EXIT_FAILURE;
}
