/* plan.c: verifies an encoded plan and reads it.
 *
 * The plan comes from the runtime through a sealed memfd, so it is trusted; it is verified all the
 * same, in full, before the first step runs: a wrong plan is then an error and never half a
 * container. */

#include "plan.h"

#include <string.h>

#ifndef __ORDER_LITTLE_ENDIAN__
#error "the plan is little endian"
#endif

static const char *const signatures[STEP_COUNT] = STEP_SIGNATURES;
static const uint8_t *base;

struct plan { const uint8_t *start; size_t size, blob; };

const char *plan_signature(unsigned int operation)
{
    return operation < STEP_COUNT ? signatures[operation] : NULL;
}

static int within(const struct plan *plan, uint32_t offset, uint64_t length)
{
    return offset >= plan->blob && offset <= plan->size && length <= plan->size - offset;
}

static const char *check_string(const struct plan *plan, struct text text)
{
    if (!within(plan, text.offset, (uint64_t)text.length + 1))
        return "a text lies outside of the plan";
    if (plan->start[text.offset + text.length] != 0)
        return "a text doesn't end in NUL";
    if (memchr(plan->start + text.offset, 0, text.length))
        return "a text has a NUL in it";
    return NULL;
}

static const char *check_list(const struct plan *plan, struct list list, size_t item)
{
    if (!list.count)
        return NULL;
    if (list.offset % 4)
        return "a list isn't aligned";
    if (!within(plan, list.offset, (uint64_t)list.count * item))
        return "a list lies outside of the plan";
    return NULL;
}

static const char *check_strings(const struct plan *plan, struct list list)
{
    const char *wrong = check_list(plan, list, sizeof(struct text));
    for (uint32_t i = 0; !wrong && i < list.count; i++) {
        struct text text;
        memcpy(&text, plan->start + list.offset + i * sizeof text, sizeof text);
        wrong = check_string(plan, text);
    }
    return wrong;
}

static const char *check_argument(const struct plan *plan, char type, const uint8_t *word)
{
    struct text text;
    struct list list;
    int64_t number;
    memcpy(&text, word, sizeof text);
    memcpy(&list, word, sizeof list);
    memcpy(&number, word, sizeof number);
    switch (type) {
    case 'i': return NULL;
    case 'f': return number < -1 || number > INT32_MAX ? "a descriptor is out of range" : NULL;
    case 's': return check_string(plan, text);
    case 'b': return within(plan, text.offset, text.length) ? NULL : "bytes lie outside of the plan";
    case 'S': return check_strings(plan, list);
    case 'I': return check_list(plan, list, sizeof(uint32_t));
    default: return "an argument has no type";
    }
}

/* Finds the end of the record at `*at` and moves there. */
static const char *skip_record(const struct plan *plan, size_t *at, int last)
{
    struct plan_record record;
    if (plan->size - *at < sizeof record)
        return "the plan ends within a step";
    memcpy(&record, plan->start + *at, sizeof record);
    if (record.operation >= STEP_COUNT)
        return "a step is unknown";
    if (record.words != strlen(signatures[record.operation]))
        return "a step has the wrong number of arguments";
    if (record.operation == STEP_EXECUTE && !last)
        return "a step follows `execute`";
    *at += sizeof record;
    if (plan->size - *at < record.words * sizeof(uint64_t))
        return "the plan ends within a step";
    *at += record.words * sizeof(uint64_t);
    return NULL;
}

const char *plan_check(const uint8_t *start, size_t size)
{
    struct plan_header header;
    if (size < sizeof header)
        return "the plan is too short";
    memcpy(&header, start, sizeof header);
    if (header.magic != PLAN_MAGIC)
        return "this isn't a plan";
    if (header.version != PLAN_VERSION)
        return "the plan is of another version";
    if (header.size != size)
        return "the plan's size is wrong";
    if (header.flags & ~(uint32_t)PLAN_TRACE || header.reserved)
        return "the plan has unknown flags";

    struct plan plan = { start, size, 0 };
    size_t at = sizeof header;
    const char *wrong = NULL;
    for (uint32_t i = 0; !wrong && i < header.steps; i++)
        wrong = skip_record(&plan, &at, i == header.steps - 1);
    plan.blob = at;

    at = sizeof header;
    for (uint32_t i = 0; !wrong && i < header.steps; i++) {
        struct plan_record record;
        memcpy(&record, start + at, sizeof record);
        at += sizeof record;
        for (const char *type = signatures[record.operation]; !wrong && *type; type++) {
            wrong = check_argument(&plan, *type, start + at);
            at += sizeof(uint64_t);
        }
    }
    return wrong;
}

void plan_use(const uint8_t *plan)
{
    base = plan;
}

const struct plan_header *plan_header(void)
{
    return (const struct plan_header *)base;
}

const struct plan_record *plan_first(void)
{
    return (const struct plan_record *)(base + sizeof(struct plan_header));
}

const struct plan_record *plan_next(const struct plan_record *record)
{
    return (const struct plan_record *)(record->arguments + record->words);
}

const struct step_execute *plan_program(void)
{
    const struct plan_record *record = plan_first();
    for (uint32_t i = 0; i < plan_header()->steps; i++, record = plan_next(record))
        if (record->operation == STEP_EXECUTE)
            return (const struct step_execute *)record->arguments;
    return NULL;
}

const char *plan_text(struct text text)
{
    return (const char *)base + text.offset;
}

const char *plan_item(struct list strs, uint32_t index)
{
    return plan_text(((const struct text *)(base + strs.offset))[index]);
}

const uint32_t *plan_ids(struct list ids)
{
    return (const uint32_t *)(base + ids.offset);
}
