// Tests of wallet.hpp with a static token: no emulator, no network, no credentials.

#include <cstdlib>
#include <iostream>

#include "wallet.hpp"

namespace {

void check(bool holds, const char *what) {
    if (!holds) {
        std::cerr << "failed: " << what << '\n';
        std::exit(EXIT_FAILURE);
    }
}

}  // namespace

int main() {
    pg::config config;
    config.set("static_token", "a-token");
    const pg::session session(pg::client(config), config);

    check(wallet::authorization(session) == "Bearer a-token", "the header has the token");
    try {
        wallet::status(session);
        check(false, "a request without a service fails");
    } catch (const pg::error &error) {
        check(error.status() == PG_ERR_MISSING_SETTING, "the error is that of the missing base_url");
    }
    try {
        session.reject(session.token(wallet::timeout));
        check(false, "a static token cannot be replaced");
    } catch (const pg::error &error) {
        check(error.status() == PG_ERR_REJECTED_FRESH, "the error is that of a service that refuses every token");
    }
}
