/* A writer of JSON to a stream: commas and escapes are its business, the shape is its caller's. */
#define _GNU_SOURCE
#include "json.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

FILE *json_out;

/* Whether the next value of the innermost open bracket needs a comma before it. */
static int need_comma;

/* The length of the UTF-8 sequence at `s` (RFC 3629), or 0 when the bytes there are none. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    static const struct { unsigned char low, high, second_low, second_high; size_t length; } forms[] = {
        {0x00, 0x7f, 0, 0, 1},
        {0xc2, 0xdf, 0x80, 0xbf, 2},
        {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3},
        {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4},
        {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (s[0] < forms[i].low || s[0] > forms[i].high)
            continue;
        if (forms[i].length > left)
            return 0;
        if (forms[i].length > 1 && (s[1] < forms[i].second_low || s[1] > forms[i].second_high))
            return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

/* A byte that is no UTF-8 becomes the lone surrogate U+DCxx, as Python's surrogateescape has it. */
static void quoted(const char *bytes, size_t length)
{
    const unsigned char *s = (const unsigned char *)bytes;
    fputc('"', json_out);
    while (length > 0) {
        size_t n = utf8_length(s, length);
        if (n == 0) {
            fprintf(json_out, "\\udc%02x", *s);
            n = 1;
        } else if (n == 1 && (*s < 0x20 || *s == 0x7f)) {
            fprintf(json_out, "\\u%04x", *s);
        } else if (*s == '"' || *s == '\\') {
            fprintf(json_out, "\\%c", *s);
        } else {
            fwrite(s, 1, n, json_out);
        }
        s += n;
        length -= n;
    }
    fputc('"', json_out);
}

static void begin(const char *key)
{
    if (need_comma)
        fputc(',', json_out);
    need_comma = 1;
    if (key != NULL) {
        quoted(key, strlen(key));
        fputc(':', json_out);
    }
}

void json_open(const char *key, char bracket)
{
    begin(key);
    fputc(bracket, json_out);
    need_comma = 0;
}

void json_close(char bracket)
{
    fputc(bracket, json_out);
    need_comma = 1;
}

void json_bytes(const char *key, const char *bytes, size_t length)
{
    begin(key);
    quoted(bytes, length);
}

void json_text(const char *key, const char *text)
{
    if (text == NULL)
        json_null(key);
    else
        json_bytes(key, text, strlen(text));
}

void json_integer(const char *key, int64_t value)
{
    begin(key);
    fprintf(json_out, "%lld", (long long)value);
}

void json_unsigned(const char *key, uint64_t value)
{
    begin(key);
    fprintf(json_out, "%llu", (unsigned long long)value);
}

void json_boolean(const char *key, int value)
{
    begin(key);
    fputs(value ? "true" : "false", json_out);
}

void json_null(const char *key)
{
    begin(key);
    fputs("null", json_out);
}

void json_file(const char *key, const char *path)
{
    static char buffer[65536];
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        json_null(key);
        return;
    }
    ssize_t got;
    while (length < sizeof buffer && (got = read(fd, buffer + length, sizeof buffer - length)) > 0)
        length += (size_t)got;
    close(fd);
    json_bytes(key, buffer, length);
}

void json_link(const char *key, const char *path)
{
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target);
    if (length < 0)
        json_null(key);
    else
        json_bytes(key, target, (size_t)length);
}
