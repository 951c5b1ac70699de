/* report.h: the protocol with the runtime, and how a failure is told. */
#pragma once

#include <stdint.h>

enum report_kind {
    REPORT_FAILED = 1, REPORT_WAITING, REPORT_CLONED, REPORT_DESCRIPTOR, REPORT_READY, REPORT_DONE,
    REPORT_WARNING,
};
enum { DESCRIPTOR_TERMINAL = 1, DESCRIPTOR_LISTENER = 2 };
enum { REPORT_TEXT = 1024 };

/* The connected SOCK_SEQPACKET socket that reports go to, and the step that they are about. */
extern int control;
extern uint32_t current_step;

/* Remembers why the current step fails and sets errno to `error` (0: the text says it all).
 * Returns -1, so that a handler can `return fail(...)`. The text is made to stand before the
 * errno's own: "openat2 dev/pts". A caller that can live with the failure just goes on. */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sends the remembered failure, lets the runtime look at this process, and ends it. */
_Noreturn void report_failure(void);

void report(enum report_kind kind, int64_t value, const char *text);
int report_descriptor(enum report_kind kind, int64_t value, int descriptor);
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits for the runtime's "go"; the process ends when the runtime has gone. */
void await_answer(void);

/* Ends this process, also where a seccomp filter refuses to let it exit. */
_Noreturn void end_process(int status);
