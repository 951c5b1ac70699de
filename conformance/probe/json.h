/* A writer of JSON to a stream: commas and escapes are its business, the shape is its caller's. */
#ifndef PROBE_JSON_H
#define PROBE_JSON_H

#include <stdio.h>
#include <stddef.h>
#include <stdint.h>

/* Where everything is written; set once by main. */
extern FILE *json_out;

/* A NULL key is an array's element; any other key is an object's member. */
void json_open(const char *key, char bracket);
void json_close(char bracket);
void json_text(const char *key, const char *text);                       /* NULL text is null */
void json_bytes(const char *key, const char *bytes, size_t length);
void json_integer(const char *key, int64_t value);
void json_unsigned(const char *key, uint64_t value);
void json_boolean(const char *key, int value);
void json_null(const char *key);

/* The whole of a small file as text, or null when it can't be read. */
void json_file(const char *key, const char *path);
/* A symbolic link's target, or null. */
void json_link(const char *key, const char *path);

#endif
