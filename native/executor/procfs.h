/* procfs.h: a procfs that nothing in the container can have put there. */
#pragma once

#include <stdint.h>

/* Opens `path` beneath `directory`, which is beneath the root of a procfs of this process's PID
 * namespace, through no magic link and into no other mount; `resolve` may add RESOLVE_NO_SYMLINKS.
 * -1 with the failure remembered. */
int open_procfs(const char *directory, const char *path, int flags, uint64_t resolve);

/* Writes the whole text to such a file, with one write(2). */
int write_procfs(const char *directory, const char *path, const char *value, uint64_t resolve);

/* Makes the next of these use a procfs of the namespaces that this process is in by then. */
void forget_procfs(void);
