{{- define "lockkeeper.selector" -}}
app.kubernetes.io/name: lockkeeper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* What every object has besides what names it. */ -}}
{{- define "lockkeeper.commonLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: lockkeeper
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* helm upgrade --reuse-values gives no values that the release before did not have. Called before each use of these. */ -}}
{{- define "lockkeeper.complete" -}}
{{- $webhook := dict "port" 10250 "failurePolicy" "Fail" "hostNetwork" false "url" "" "setup" "Hook" "keep" false "certManager" (dict "enabled" false "issuerRef" dict) "existingSecret" "" "caBundle" "" }}
{{- range $name, $default := dict "webhook" $webhook "holds" (dict "by" "auto") "uninstall" (dict "hook" "auto" "heldWorkloads" "Refuse") }}
{{- $_ := set $.Values $name (mergeOverwrite (deepCopy $default) (index $.Values $name | default dict)) }}
{{- end }}
{{- end }}

{{- /* Whether workloads are left to a judge, as their label names it. */ -}}
{{- define "lockkeeper.leftTo" -}}
{{- $judge := . }}
{{- $left := false }}
{{- range $kind := list "Deployment" "StatefulSet" }}
{{- range (lookup "apps/v1" $kind "" "").items }}
{{- if eq (dig "metadata" "labels" "lockkeeper.dev/governed" "" .) $judge }}{{ $left = true }}{{ end }}
{{- end }}
{{- end }}
{{- if $left }}true{{ end }}
{{- end }}

{{- /* Whether the cluster's admission policies hold changes: also as long as workloads are left to them, where the webhook is to. A list of all workloads is
       read only where they were installed before. What a cluster serves is known by kind, what helm template supposes by group only. */ -}}
{{- define "lockkeeper.holds" -}}
{{- include "lockkeeper.complete" . }}
{{- $by := .Values.holds.by }}
{{- $api := "admissionregistration.k8s.io/v1" }}
{{- $served := .Capabilities.APIVersions.Has (printf "%s/MutatingAdmissionPolicy" $api) }}
{{- $cluster := .Capabilities.APIVersions.Has "apps/v1/Deployment" }}
{{- $new := semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version }}
{{- if or (eq $by "policies") (and (eq $by "auto") (or $served (and $new (not $cluster)))) }}true
{{- else if and (eq $by "webhook") $served }}
{{- if lookup $api "MutatingAdmissionPolicy" "" "lockkeeper-deployments" }}{{ include "lockkeeper.leftTo" "true" }}{{ end }}
{{- end }}
{{- end }}

{{- /* Whether the webhook holds changes: where policies cannot, and as long as workloads are left to it. A list of all workloads is read only where
       the webhook was installed before. */ -}}
{{- define "lockkeeper.webhook" -}}
{{- include "lockkeeper.complete" . }}
{{- $by := .Values.holds.by }}
{{- if or (eq $by "webhook") (and (eq $by "auto") (not (include "lockkeeper.holds" .))) }}true
{{- else if and .Values.webhook.keep (ne $by "none") }}true
{{- else if and (ne $by "none") (lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "zz-lockkeeper") }}
{{- include "lockkeeper.leftTo" "webhook" }}
{{- end }}
{{- end }}

{{- /* Whether Lockkeeper makes the certificate of its webhook. */ -}}
{{- define "lockkeeper.webhookOwnCertificate" -}}
{{- if and (include "lockkeeper.webhook" .) (not .Values.webhook.certManager.enabled) (not .Values.webhook.existingSecret) }}true{{ end }}
{{- end }}

{{- /* The Secret of its certificate. */ -}}
{{- define "lockkeeper.webhookSecret" -}}
{{ .Values.webhook.existingSecret | default "lockkeeper-webhook-tls" }}
{{- end }}

{{- /* The names by which the API server calls the webhook. */ -}}
{{- define "lockkeeper.webhookNames" -}}
lockkeeper-webhook.{{ .Release.Namespace }}.svc{{ with .Values.webhook.url }},{{ (urlParse .).hostname }}{{ end }}
{{- end }}

{{- define "lockkeeper.labels" -}}
app.kubernetes.io/name: lockkeeper
{{ include "lockkeeper.commonLabels" . }}
{{- end }}

{{- /* The annotations of an object: those of all, and its own, which are given as a map. Nothing, where there are none. */ -}}
{{- define "lockkeeper.annotations" -}}
{{- $root := index . 0 }}
{{- with merge (dict) (index . 1) $root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lockkeeper.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "lockkeeper.podSecurity" -}}
# The image says which user: 65532. OpenShift chooses one of its own.
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lockkeeper.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Where its pods may run, and how soon they give way. */ -}}
{{- define "lockkeeper.placement" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The pod of a hook: a subcommand of the operator's own image. Its labels are not those that the Deployment and the Service select. */ -}}
{{- define "lockkeeper.hookPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    app.kubernetes.io/name: lockkeeper-{{ .name }}
    {{- if .webhook }}
    app.kubernetes.io/component: webhook
    {{- end }}
    {{- include "lockkeeper.commonLabels" $root | nindent 4 }}
    {{- with $root.Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .account }}
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  {{- if and .webhook $root.Values.webhook.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- include "lockkeeper.placement" $root | trim | nindent 2 }}
  securityContext: {{- include "lockkeeper.podSecurity" $root | nindent 4 }}
  containers:
  - name: {{ .name }}
    image: {{ include "lockkeeper.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 4 }}
    {{- if .webhook }}
    env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    {{- end }}
    # So that what it says in the end stands in the pod's status too.
    terminationMessagePolicy: FallbackToLogsOnError
    resources: {requests: {cpu: 20m, memory: 48Mi}, limits: {memory: 256Mi}}
    securityContext: {{- include "lockkeeper.containerSecurity" $root | nindent 6 }}
{{- end }}

{{- /* The admission policies, the ClusterRoles and the CRD are the whole cluster's, and know one operator: another release is refused here, in a
       sentence, before Helm meets the first object that is not its own. */ -}}
{{- define "lockkeeper.alone" -}}
{{- $there := lookup "admissionregistration.k8s.io/v1" "ValidatingAdmissionPolicy" "" "lockkeeper-self-restraint-workloads" }}
{{- if $there }}
{{- $name := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there }}
{{- $namespace := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $there }}
{{- if and $name (or (ne $name .Release.Name) (ne $namespace .Release.Namespace)) }}
{{- fail (printf "\n\nLockkeeper is installed in this cluster already: release %s in namespace %s. A cluster has only one installation, because the admission policies apply to the whole cluster and accept one operator. To change it: helm upgrade %s -n %s. To move it to another name or namespace, follow docs/install.md, A second installation. The UpgradePolicies stay\n" $name $namespace $name $namespace) }}
{{- end }}
{{- end }}
{{- end }}
