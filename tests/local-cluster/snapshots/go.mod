// Where the CustomResourceDefinitions of snapshots come from: nothing is built of it.
module lockkeeper.dev/testbed/snapshots

go 1.26.0

require github.com/kubernetes-csi/external-snapshotter/client/v8 v8.6.0
