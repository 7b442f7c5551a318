// Package envoy runs one Envoy beside a small process of the mesh: writes its
// bootstrap, gives it certificates over SDS, starts it or takes over one that is
// running, reads its state from its admin socket, drains and stops it. In: an identity
// and where pilot is. Out: a proxy that pilot programs, and the truth about it.
//
// It imports nothing but the standard library and the mesh's identity, because the
// smallest process of the mesh is made of it. It never speaks to pilot: Envoy does.
//
// # What pilot can rely on
//
// The node id is "<role>~<address>~<workload>.<namespace>~<domain>". The static
// clusters are named by the Cluster constants, the secrets by the Secret constants;
// SDS is asked at cluster "sds-agent" by gRPC (state of the world or delta, both are
// served), and an SDS config that is equal to [SDSConfig] shares Envoy's subscription.
//
// # What is asked of pilot
//
// Every LDS and CDS response carries, as version_info (state of the world) or
// system_version_info (delta), the decimal revision of the config it was made from, 1
// or more, and the first answer on a stream is made from a loaded world of pilot's
// revision at that time. Envoy shows the version of the last response that it accepted
// in the stats listener_manager.lds.version_text and cluster_manager.cds.version_text:
// measured with 1.40, both protocols, also for a response that changes nothing or, of
// a delta, is empty; a refused response leaves them as they were. So a revision in both
// says that what pilot had when the proxy connected is in force, and goes on saying it
// while pilot is away.
package envoy
