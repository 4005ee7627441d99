/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control - a control socket for tests: control SOCKET ANSWERS. Each line of the file ANSWERS is "COMMAND TEXT"; TEXT,
 * without the braces, is what the command is answered with. An unasked event and a reply with a foreign id come before
 * each answer, which leaves in two pieces. Commands go to standard output. One thread, one connection at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

static void answer(int fd, json_int_t id, const char *text)
{
    char line[4096];
    int n = snprintf(line, sizeof line,
                     "{\"event\": \"tick\"}\n{\"id\": 999, \"ok\": true, \"foreign\": true}\n{\"id\": %lld, %s}\n",
                     (long long)id, text);

    if (write(fd, line, (size_t)n / 2) < 0 || write(fd, line + n / 2, (size_t)(n - n / 2)) < 0)
        exit(1);
}

static void serve(int fd, const char *answers)
{
    char line[4096], known[4096];
    FILE *in = fdopen(dup(fd), "r");

    while (in && fgets(line, sizeof line, in)) {
        json_t *request = json_loads(line, 0, NULL);
        const char *cmd = json_string_value(json_object_get(request, "cmd")), *text = NULL;
        FILE *f = fopen(answers, "r");

        fputs(line, stdout);
        fflush(stdout);
        while (cmd && f && !text && fgets(known, sizeof known, f)) {
            known[strcspn(known, "\n")] = '\0';
            if (!strncmp(known, cmd, strlen(cmd)) && known[strlen(cmd)] == ' ')
                text = known + strlen(cmd) + 1;
        }
        answer(fd, json_integer_value(json_object_get(request, "id")),
               text ? text : "\"ok\": false, \"error\": \"no such command\", \"errno\": \"EINVAL\"");
        if (f)
            fclose(f);
        json_decref(request);
    }
    if (in)
        fclose(in);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;

    if (argc < 3 || strlen(argv[1]) >= sizeof address.sun_path)
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8))
        return 1;
    puts("ready");
    fflush(stdout);
    while ((client = accept(fd, NULL, NULL)) >= 0) {
        serve(client, argv[2]);
        close(client);
    }
    return 1;
}
