/* plan.h: the encoded plan: its shape, its verification, and reading what was verified. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "steps.h"

/* All numbers are little endian, all offsets from the start of the plan. */
struct plan_header { uint32_t magic, version, size, steps, flags, reserved; };
struct plan_record { uint16_t operation, words; uint32_t index; uint64_t arguments[]; };

enum { PLAN_TRACE = 1 };

/* Says what is wrong with an encoded plan, or NULL: then every accessor below is safe on it. It
 * depends on nothing else, so that it can be fuzzed alone. */
const char *plan_check(const uint8_t *plan, size_t size);

/* The name of an operation's arguments' types, one letter each (steps.h). */
const char *plan_signature(unsigned int operation);

/* Choose the (checked) plan that the functions below read. */
void plan_use(const uint8_t *plan);

const struct plan_header *plan_header(void);
const struct plan_record *plan_first(void);
const struct plan_record *plan_next(const struct plan_record *record);

/* The arguments of the last step when it is `execute`, or NULL. */
const struct step_execute *plan_program(void);

const char *plan_text(struct text text);                /* ends in NUL when it is a str */
const char *plan_item(struct list strs, uint32_t index);
const uint32_t *plan_ids(struct list ids);
