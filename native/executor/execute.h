/* execute.h: the last moments before the program. */
#pragma once

/* Does all that `execute` needs but execve itself: signals, HOME, the arrays. Once; called before a
 * seccomp filter is loaded, so that after it nothing but execve needs to be permitted. */
int prepare_program(void);
