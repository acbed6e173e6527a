{{- define "sop.runnerNamespace" -}}
{{- .Values.runners.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "sop.airflowNamespace" -}}
{{- .Values.airflow.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "sop.image" -}}
{{- printf "%s:%s" .Values.runners.image.repository (.Values.runners.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* The chart's own objects carry Helm's labels; the pods' label below is set by the executor. */}}
{{- define "sop.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Label of every pod and Secret of an attempt. */}}
{{- define "sop.attemptLabels" -}}
app.kubernetes.io/managed-by: airflow-sop-provider
{{- end -}}

{{- define "sop.gatewayName" -}}
{{- printf "%s-fleet" .Release.Name -}}
{{- end -}}

{{- define "sop.gatewayLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: fleet-gateway
{{- end -}}
