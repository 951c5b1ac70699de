/* The probe's sections: each prints one part of what a process can see, as members of one object. */
#ifndef PROBE_H
#define PROBE_H

void show_identity(void);                                  /* process.c */
void show_limits(void);
void show_attributes(void);
void show_signals_and_seccomp(void);
void show_scheduling(void);
void show_namespaces(void);                                /* surroundings.c */
void show_mounts(void);
void show_network(void);
void show_processes(void);
void show_devices(void);                                   /* files.c */
void show_path(const char *path);
void show_device_access(const char *device);
void show_descriptors(void);                               /* descriptors.c */
void show_terminal(void);

/* Write what was asked of the probe as a hook to the end of `log`: one line of JSON. */
void record_hook(const char *log, const char *name, int argc, char **argv);   /* hook.c */

#endif
