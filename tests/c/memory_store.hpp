// A store of the program's own, in memory.

#ifndef MEMORY_STORE_HPP
#define MEMORY_STORE_HPP

#include <chrono>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <paymentsgate_auth.hpp>

class memory_store : public pg::store {
public:
    bool throws = false, throws_nonsense = false, ignores_versions = false;

    bool lock(std::string_view key, std::string_view owner, std::chrono::milliseconds lease) override {
        const std::lock_guard held(mutex_);
        fail();
        auto &[holder, until] = locks_[std::string(key)];
        if (holder != owner && until > std::chrono::steady_clock::now()) {
            return false;
        }
        holder = owner;
        until = std::chrono::steady_clock::now() + lease;
        return true;
    }

    void unlock(std::string_view key, std::string_view owner) override {
        const std::lock_guard held(mutex_);
        fail();
        if (locks_[std::string(key)].first == owner) {
            locks_.erase(std::string(key));
        }
    }

    std::optional<record> load(std::string_view key) override {
        const std::lock_guard held(mutex_);
        fail();
        const auto found = records_.find(std::string(key));
        return found == records_.end() ? std::nullopt : std::optional(found->second);
    }

    bool save(std::string_view key, std::uint64_t expected_version, std::uint64_t version,
              std::string_view bytes) override {
        const std::lock_guard held(mutex_);
        fail();
        record &kept = records_[std::string(key)];
        if (kept.version != expected_version && !ignores_versions) {
            if (kept.version == 0) {
                records_.erase(std::string(key));
            }
            return false;
        }
        kept = {version, std::string(bytes)};
        return true;
    }

private:
    void fail() const {
        if (throws) {
            throw std::runtime_error("the disk is full");
        }
        if (throws_nonsense) {
            throw 7;
        }
    }

    std::mutex mutex_;
    std::map<std::string, std::pair<std::string, std::chrono::steady_clock::time_point>> locks_;
    std::map<std::string, record> records_;
};

#endif  // MEMORY_STORE_HPP
