/* executor_fuzz.c: gives byte strings to plan_check, for tests under sanitizers.
 *
 * Standard input is a sequence of u32 length and as many bytes; for each, standard output gets a line:
 * what is wrong with it, or "accepted". A plan that is accepted is then read whole through the
 * accessors that the executor uses, so that a hole in the verification shows as a fault. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static unsigned int sum;

static void touch(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum += (unsigned char)bytes[i];
}

static void read_argument(char type, const uint64_t *word)
{
    struct text text;
    struct list list;
    memcpy(&text, word, sizeof text);
    memcpy(&list, word, sizeof list);
    if (type == 's' && strlen(plan_text(text)) != text.length)
        abort();
    if (type == 's' || type == 'b')
        touch(plan_text(text), text.length);
    for (uint32_t i = 0; type == 'S' && i < list.count; i++)
        touch(plan_item(list, i), strlen(plan_item(list, i)) + 1);
    if (type == 'I' && list.count)
        touch((const char *)plan_ids(list), list.count * sizeof(uint32_t));
}

static void read_plan(const uint8_t *plan)
{
    plan_use(plan);
    const struct plan_record *record = plan_first();
    for (uint32_t i = 0; i < plan_header()->steps; i++, record = plan_next(record)) {
        const char *types = plan_signature(record->operation);
        for (int word = 0; types[word]; word++)
            read_argument(types[word], &record->arguments[word]);
    }
    if (plan_program())
        sum += plan_program()->argv.count;
}

int main(void)
{
    uint32_t length;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        uint8_t *plan = malloc(length ? length : 1);    /* its own block: the sanitizer sees its end */
        if (!plan || fread(plan, 1, length, stdin) != length)
            return 2;
        const char *wrong = plan_check(plan, length);
        puts(wrong ? wrong : "accepted");
        if (!wrong)
            read_plan(plan);
        free(plan);
    }
    fprintf(stderr, "%u\n", sum);
    return 0;
}
