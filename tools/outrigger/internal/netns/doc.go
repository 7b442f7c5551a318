// Package netns gives every workload of the local fleet a network of its own.
//
// What comes in: addresses and redirect rules. What goes out: kernel network
// namespaces held open by descriptors, a bridge that joins them, and the
// nftables rules that send a workload's TCP traffic through its sidecar. All of
// it lives in namespaces of the calling process and ends with them: the package
// never touches a namespace it was not called in or did not make, writes no file
// outside /proc/sys/net of those namespaces, and executes no program.
//
// The caller needs CAP_NET_ADMIN and CAP_SYS_ADMIN in the user namespace that
// owns its network namespace: root has them, and so has an ordinary user inside
// a user namespace made for this purpose.
package netns
