{{/* What the operator needs of each namespace that it watches. */}}
{{- define "lockkeeper.rules" }}
- {apiGroups: [lockkeeper.dev], resources: [upgradepolicies], verbs: [list, watch]}
- {apiGroups: [lockkeeper.dev], resources: [upgradepolicies/status], verbs: [patch]}
- {apiGroups: [apps], resources: [deployments, statefulsets, daemonsets], verbs: [list, watch, patch]}
- {apiGroups: [apps], resources: [replicasets, controllerrevisions], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
# Why a StatefulSet's or DaemonSet's pods cannot be created is told only by events of its controller.
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, list]}
{{- if .Values.features.config }}
# Their content is digested as it is read, under a key of the operator's own, and never kept.
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [list, watch]}
{{- end }}
{{- if .Values.features.gateCredentials }}
# For the app gate: certificates to verify pods by, and headers from Secrets that bear the label of consent.
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [get]}
{{- end }}
{{- if .Values.features.volumes }}
# Claims, and what uses or scales what uses them. Self-restraint says what may be changed of them.
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [list, watch, patch]}
- {apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list, watch]}
{{- end }}
{{- if and .Values.features.volumes .Values.features.conversion }}
# Asked by self-restraint only: a volume may be handed over from one claim to another, as somebody with this verb wrote it on the claim.
- {apiGroups: [lockkeeper.dev], resources: [upgradepolicies], verbs: [convert]}
{{- end }}
{{- if and .Values.features.volumes .Values.features.snapshots }}
# Snapshots before a change. Self-restraint says which may be created. None is changed or deleted.
- {apiGroups: [snapshot.storage.k8s.io], resources: [volumesnapshots], verbs: [list, watch, create]}
{{- end }}
# Workloads that these act on are left to them.
- {apiGroups: [argoproj.io], resources: [rollouts], verbs: [list, watch]}
- {apiGroups: [flagger.app], resources: [canaries], verbs: [list, watch]}
{{- end }}
