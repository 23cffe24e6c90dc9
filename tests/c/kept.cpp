// A program that keeps the pairs of a session gets the last pair, however it frees its objects. Needs the emulator's variables.

#include <iostream>

#include <paymentsgate_auth.hpp>

#include "fixture.h"

namespace {

using namespace std::chrono_literals;

// A session from a pair alone, during its refresh. The emulator answers slowly.
pg::session in_a_refresh(const pg::config &settings, const pg::token &pair, const pg::queue &news) {
    pg::config config;
    config.set_from_env().set("access_token", pair.access_token()).set("refresh_token", *pair.refresh_token());
    config.set("access_token_expires_in_s", "3600");
    pg::session session(pg::client(settings), config);
    session.subscribe(news, 1);
    CHECK(!session.try_token()->refresh_token());
    try {
        session.refresh(0ms);
        CHECK(!"there is no token at once");
    } catch (const pg::error &late) {
        CHECK(late.status() == PG_ERR_TIMEOUT && late.cause() == PG_OK);
    }
    while (count_of(REFRESHES) == 0) {
        usleep(1000);
    }
    return session;
}

void hears_of_the_last_pair(const pg::client &client, const pg::token &pair, const pg::queue &news) {
    const std::optional<pg::event> rotated = news.poll();
    CHECK(rotated->kind() == PG_EVENT_ROTATED);
    const pg::token last = *rotated->token();
    CHECK(last.refresh_token() && last.refresh_token() != pair.refresh_token());
    CHECK(news.poll()->kind() == PG_EVENT_ENDED && !news.poll(0ms));
    CHECK(client.refresh(last).refresh_token().has_value());
    CHECK(count_of(MOST_PRESENTATIONS) == 1);
}

void begin_slow() {
    begin(nullptr, R"({"route": "refresh", "action": {"kind": "delay", "ms": 1500}})");
}

}  // namespace

int main() try {
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    pg::config config;
    config.set_from_env();
    const pg::client client(config);

    // The scope of the last owner ends.
    begin_slow();
    pg::token pair = client.issue();
    pg::queue news;
    {
        const pg::session session = in_a_refresh(config, pair, news);
        const pg::session other = session;
    }
    hears_of_the_last_pair(client, pair, news);

    // It is closed with a shorter timeout than the service needs, and then freed.
    begin_slow();
    pair = client.issue();
    {
        const pg::session session = in_a_refresh(config, pair, news);
        try {
            session.close(0ms);
            CHECK(!"a call is under way");
        } catch (const pg::error &late) {
            CHECK(late.status() == PG_ERR_TIMEOUT);
        }
    }
    hears_of_the_last_pair(client, pair, news);

    // It is closed with a sufficient timeout.
    begin_slow();
    pair = client.issue();
    in_a_refresh(config, pair, news).close();
    hears_of_the_last_pair(client, pair, news);

    tell_emulator("POST", "/reset", nullptr);
    curl_global_cleanup();
    std::cout << "ok kept: " << checks << " checks" << std::endl;
    return EXIT_SUCCESS;
} catch (const std::exception &error) {
    std::cerr << "kept.cpp: " << error.what() << std::endl;
    return EXIT_FAILURE;
}
