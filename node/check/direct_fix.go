package check

// A fix of the direct path is one line for root, as it can be pasted: it takes effect now
// and for good, or says that it needs the next boot. What a shell need not run follows
// after a #.

// placesTold ends the fixes that name cores; on a host whose cores are known it goes, and
// HOT and REST become lists.
const placesTold = " (HOT: the cores of the threads that spin, REST: the others)"

// sysctlFix sets it now and at each boot.
func sysctlFix(assignment string) string {
	return "echo '" + assignment + "' >> /etc/sysctl.d/fire.conf && sysctl -p /etc/sysctl.d/fire.conf"
}

// sysfsFix writes a file of /sys now and at each boot (tmpfiles.d(5), lines of type w).
func sysfsFix(file, value string) string {
	return "echo 'w " + file + " - - - - " + value + "' >> /etc/tmpfiles.d/fire.conf && systemd-tmpfiles --create /etc/tmpfiles.d/fire.conf"
}

// bootFix adds arguments to the kernel's command line, and boots.
func bootFix(args string) string { return bootLine(args) + " && reboot" + bootElsewhere }

func bootLine(args string) string { return "grubby --update-kernel=ALL --args='" + args + "'" }

// bootElsewhere is what a host without grubby does.
const bootElsewhere = " # Debian, Ubuntu: add it to GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub && reboot"
