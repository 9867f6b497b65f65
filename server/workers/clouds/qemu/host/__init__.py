"""What the qemu cloud needs of this computer: a probe guest, rights, and the services that it starts."""
