/*
 * One interface to refresh a pair with this library or with libcurl. Both trust only the emulator's authority, so that
 * neither reads the system's. Both get the tokens with each call, as in a real program.
 */
#ifndef WAY_H
#define WAY_H

struct way {
    const char *name;
    /* Makes a client for the base URL, which is not connected yet. */
    void *(*open)(const char *base_url);
    /* Ends the program if it fails. */
    void (*refresh)(void *client, const char *access_token, const char *refresh_token);
    void (*close)(void *client);
};

extern const struct way pg_way, curl_way;

/* Tokens in the format of the emulator. */
#define ACCESS_TOKEN                                                                                                   \
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."                                                                            \
    "eyJleHAiOjE3OTU1NjIyNzUsImlhdCI6MTc5NTU1ODY3NSwianRpIjoiNzYwOTFmYzYtNDM3ZS00OTUyLTllYmYtNjljOTBiNGVmOGNiIiwic3ViI" \
    "joiZml4ZWQifQ.vbxNfWE4faoXAWHelI4GCPbIfyg7JbXi8CmtQGq2THw"
#define REFRESH_TOKEN                                                                                                  \
    "6cba172357274a93b02ea5672a3b3d5b436e6504fca54afc80b7377a6db9a79831ae6028ad644184899ca72bac0bd069f6e50b37901f41ad" \
    "a8c56c0ff35f82b7"

#endif
