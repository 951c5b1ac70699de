"""cgroups made by systemd: a scope for each container, asked for over D-Bus (org.freedesktop.systemd1(5))."""
