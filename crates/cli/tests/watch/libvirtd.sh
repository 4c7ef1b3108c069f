#!/bin/sh
# One host of two: a libvirtd of its own in namespaces of its own, laid over this machine. Nothing of the machine is changed.
# Arguments: the unpacked packages, a directory that both hosts see, and a or b. It is the first process of its PID namespace.
set -e
packages=$1 shared=$2 host=$3
mount --make-rprivate /
hostname "host-$host"
place=$shared/$host
mkdir -p "$place" "$shared/share" "$shared/sock/$host"
# Upper and lower directories of an overlay whose other lower one is / have to be on another file system.
mount -t tmpfs tmpfs "$place"
mkdir "$place/up" "$place/work" "$place/root"
cp -a "$packages" "$place/packages"
mount -t overlay overlay -o "lowerdir=$place/packages:/,upperdir=$place/up,workdir=$place/work" "$place/root"
cd "$place/root"
mount --rbind /dev dev
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mkdir -p share sock etc/libvirt/qemu
mount --bind "$shared/share" share
mount --bind "$shared/sock" sock
cat >etc/libvirt/libvirtd.conf <<X
host_uuid = "${host}${host}${host}${host}${host}${host}${host}${host}-0000-4000-8000-000000000001"
unix_sock_dir = "/sock/$host"
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:/share/libvirtd-$host.log"
X
cat >etc/libvirt/qemu.conf <<X
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
X
# The built-in user is looked up before qemu.conf is read.
if ! grep -q libvirt-qemu etc/passwd; then
  echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>etc/passwd
  echo 'libvirt-qemu:x:64055:' >>etc/group
fi
# Not as the first process: libvirtd does not reap what it did not start.
chroot . /usr/sbin/libvirtd --config /etc/libvirt/libvirtd.conf &
wait $!
