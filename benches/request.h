/* GET /wallet with a token, for a program that is linked with one client. */
#ifndef REQUEST_H
#define REQUEST_H

/* Once in a process; the base URL is that of a service that answers everything with 200. */
void open_service(const char *base_url);
void close_service(void);
/* Once in a thread, whose requests it then makes. */
void *enter(void);
/* Ends the program if it fails. */
void ask(void *caller);
void leave(void *caller);

#endif
