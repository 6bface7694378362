# SPDX-License-Identifier: Apache-2.0
# Sourced by guest and as: the cgroup hierarchies as systemd leaves them on a v2, a v1 and a hybrid
# host, root's session and an ordinary user's delegated subtree.
CG=/sys/fs/cgroup
CG_ROOT=user.slice/user-0.slice/session-1.scope
CG_USER=user.slice/user-1234.slice/user@1234.service
CG_CONTROLLERS="cpuset cpu io memory hugetlb pids rdma misc"

cgroups_mount()
{
	case $1 in
	v2) mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 $CG ;;
	v1) cgroups_mount_v1 ;;
	hybrid) cgroups_mount_v1 && mkdir $CG/unified && mount -t cgroup2 cgroup2 $CG/unified ;;
	none) ;;
	*) return 1 ;;
	esac
}

cgroups_mount_v1()
{
	mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs $CG || return 1
	mkdir $CG/systemd && mount -t cgroup -o none,name=systemd systemd $CG/systemd || return 1
	for c in cpuset cpu,cpuacct blkio memory devices freezer net_cls,net_prio perf_event hugetlb \
		pids rdma misc; do
		mkdir $CG/$c && mount -t cgroup -o $c cgroup $CG/$c || return 1
		case $c in
		*,*) ln -s $c $CG/${c%,*} && ln -s $c $CG/${c#*,} ;;
		esac
	done
	cat $CG/cpuset/cpuset.cpus >/dev/null
	echo 1 >$CG/cpuset/cgroup.clone_children
}

# Enables every controller for the children of cgroup $1 and of all above it.
cgroup_enable()
{
	path=$CG
	for part in "" $(echo "$1" | tr / ' '); do
		path=$path${part:+/$part}
		mkdir -p $path
		for c in $CG_CONTROLLERS; do
			echo +$c >$path/cgroup.subtree_control || return 1
		done
	done
}

# The kernel rewrites its own text (static keys) when the first cgroup is frozen, or bounded in processor time or in what TCP holds (v1), and again
# when the last one is not any more. Rewritten code is what emulation is bad at: 0.1 s each time, and on v1 a guest was
# seen to stand still for ever, both processors in tasks that were being frozen. An empty cgroup of each kind, made
# before, keeps the keys as they are.
cgroups_hold()
{
	case $1 in
	v2) held=$CG/held && cgroup_enable "" && mkdir $held && echo 50000 >$held/cpu.max ;;
	v1 | hybrid)
		mkdir $CG/freezer/held $CG/cpu/held $CG/memory/held &&
			echo FROZEN >$CG/freezer/held/freezer.state &&
			echo 50000 >$CG/cpu/held/cpu.cfs_quota_us &&
			{ tcp=$CG/memory/held/memory.kmem.tcp.limit_in_bytes; [ ! -e $tcp ] || echo 1G >$tcp; }
		;;
	esac
}

# Gives user $1 a subtree as systemd does (Delegate=yes): the directory and the files with which
# processes are moved and controllers enabled, nothing else.
cgroups_delegate()
{
	[ "$CGROUP" = v2 ] || return 0
	cgroup_enable ${CG_ROOT%/*}
	cgroup_enable ${CG_USER%/*}
	mkdir -p $CG/$CG_ROOT $CG/$CG_USER
	if [ "$USER_CGROUP" != delegated ]; then
		mkdir $CG/${CG_USER%/*}/session-2.scope
		return
	fi
	cgroup_own $CG/$CG_USER $1
	cgroup_enable $CG_USER
	mkdir $CG/$CG_USER/app.slice
	cgroup_own $CG/$CG_USER/app.slice $1
	for c in $CG_CONTROLLERS; do
		echo +$c >$CG/$CG_USER/app.slice/cgroup.subtree_control
	done
}

cgroup_own()
{
	chown $2:$2 $1 $1/cgroup.procs $1/cgroup.subtree_control $1/cgroup.threads
}

cgroup_enter_root()
{
	[ "$CGROUP" != v2 ] || echo $$ >$CG/$CG_ROOT/cgroup.procs
}
