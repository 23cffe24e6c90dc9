// The part of a program that uses a session, in C++. Its tests pass a session of their own.

#pragma once

#include <chrono>
#include <string>

#include <paymentsgate_auth.hpp>

namespace wallet {

constexpr std::chrono::seconds timeout{10};

// The value of the header with the current token, for the program's HTTP client.
inline std::string authorization(const pg::session &session) {
    return std::string("Bearer ").append(session.token(timeout).access_token());
}

// The HTTP status of a request for the wallet.
inline int status(const pg::session &session) { return session.request("GET", "/wallet", {}, {}, timeout).status(); }

}  // namespace wallet
