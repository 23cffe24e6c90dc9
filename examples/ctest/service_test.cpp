// Tests of wallet.hpp against the emulator, whose address is in the environment: pg-sandbox -- service_test_cpp

#include <cstdlib>
#include <iostream>

#include "wallet.hpp"

int main() try {
    pg::config config;
    config.set_from_env();
    const pg::session session(pg::client(config), config);
    const int status = wallet::status(session);
    if (status != 200) {
        std::cerr << "failed: the wallet is answered with " << status << '\n';
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
} catch (const pg::error &error) {
    std::cerr << "failed: " << error.what() << '\n';
    return EXIT_FAILURE;
}
