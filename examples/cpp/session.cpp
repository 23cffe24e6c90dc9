// Calls the API a few times with a session, which manages the tokens.
//
//   c++ -std=c++17 session.cpp $(pkg-config --cflags --libs paymentsgate_auth) -o session
//   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./session
//
// PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the emulator's.

#include <chrono>
#include <cstdlib>
#include <iomanip>
#include <iostream>

#include <paymentsgate_auth.hpp>

namespace {

using namespace std::chrono_literals;

constexpr int requests = 3;
constexpr auto timeout = 30s;

std::ostream &show(const char *what) { return std::cout << std::left << std::setw(8) << what << ' '; }

// Prints the queued events. A long-running program waits for the queue's fd(), or reads the events in a thread.
void show_events(const pg::queue &queue) {
    while (const auto event = queue.poll(0ms)) {
        if (event->kind() == PG_EVENT_LOG) {
            show("log") << event->text() << '\n';
        } else if (const auto error = event->error()) {
            show("event") << error->what() << '\n';
        } else if (const auto token = event->token()) {
            show("event") << "there is a token " << token->fingerprint() << '\n';
        }
    }
}

}  // namespace

int main() try {
    pg::config config;
    config.set_from_env();
    // A program opens one session for an account, and its threads share it.
    const pg::session session(pg::client(config), config);
    const pg::queue queue;
    session.subscribe(queue, 1, PG_LOG_INFO);

    for (int i = 0; i < requests; ++i) {
        // Any complete answer is a response, whatever its HTTP status.
        const pg::response wallet = session.request("GET", "/wallet", {}, {}, timeout);
        show("wallet") << "HTTP " << wallet.status() << "  " << wallet.body() << '\n';
        if (wallet.status() != 200) {
            return EXIT_FAILURE;
        }
    }
    // For programs with their own HTTP client: only the token. A fresh token comes from memory, so there is no need to
    // cache it. After a 401 call session.reject(token).
    const pg::token token = session.token(timeout);
    // A token is shown by its fingerprint, never by its text.
    show("token") << token.fingerprint() << "  generation " << token.generation() << "  " << token.remaining() / 1s
                  << " s left\n";
    show_events(queue);
    show("health") << session.health() << '\n';
    session.close(timeout);
    return EXIT_SUCCESS;
} catch (const pg::error &error) {
    std::cerr << error.status_name() << ": " << error.what() << std::endl;
    return EXIT_FAILURE;
}
