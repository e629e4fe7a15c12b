// Connects to port 80 of a name, as most C programs do, and prints how many milliseconds that took.
#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

static long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

int main(int count, char **words) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found, *each;
    long begun = now();
    int error = count == 2 ? getaddrinfo(words[1], "80", &wanted, &found) : EAI_NONAME;
    if (error) {
        fprintf(stderr, "%s after %ld ms\n", gai_strerror(error), now() - begun);
        return 1;
    }
    for (each = found; each; each = each->ai_next) {
        int fd = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (fd >= 0 && !connect(fd, each->ai_addr, each->ai_addrlen)) {
            printf("%ld\n", now() - begun);
            return 0;
        }
    }
    perror("connect");
    return 1;
}
