/* path.h: opening and making things in the container's root, and nowhere else. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

/* An O_PATH descriptor of the container's root: what open_root mounted, else the "/" of when it is first
 * asked for. use_root(-1) forgets it. */
int root_directory(void);
void use_root(int directory);

/* What to open beneath a directory. `resolve` is RESOLVE_IN_ROOT or RESOLVE_BENEATH, with further
 * RESOLVE_ flags of openat2(2); magic links are never followed. With `create` (S_IFDIR or S_IFREG
 * and a mode) what is missing is made, the parents as directories with mode 0755; `flags` then has
 * O_PATH. */
struct lookup { int directory; const char *path; int flags; uint64_t resolve; mode_t create; };

/* All of these give a close-on-exec descriptor, or -1 with the failure remembered. */
int look_up(const struct lookup *lookup);
int open_in_root(const char *path, int flags);
int make_in_root(const char *path, mode_t create, uint64_t resolve, int flags);

/* The directory that holds `path`, made when missing, and the last component. */
int open_parent(const char *path, char name[NAME_MAX + 1]);

/* Are these two descriptors the same file on the same mount? */
int same_place(int one, int other);

/* A name for a descriptor, for system calls that only know paths: only before the root changes,
 * while /proc is the host's. NULL with the failure remembered when /proc isn't a procfs. */
struct fd_path { char text[32]; };
const char *fd_path(int descriptor, struct fd_path *path);
