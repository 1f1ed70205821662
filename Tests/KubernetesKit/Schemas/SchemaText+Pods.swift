extension SchemaText {
    static let pods = """
        Pod: apiVersion=s kind=s metadata=ObjectMeta spec=PodSpec status=PodStatus
        PodTemplateSpec: metadata=ObjectMeta spec=PodSpec
        PodSpec: volumes=[Volume/name] initContainers=[Container/name] containers!=[Container/name]
         ephemeralContainers=[Container/name] restartPolicy=s terminationGracePeriodSeconds=i activeDeadlineSeconds=i dnsPolicy=s
         nodeSelector={s} serviceAccountName=s serviceAccount=s automountServiceAccountToken=b nodeName=s hostNetwork=b hostPID=b
         hostIPC=b shareProcessNamespace=b securityContext=PodSecurityContext imagePullSecrets=[LocalObjectReference/name]
         hostname=s subdomain=s affinity=Affinity schedulerName=s tolerations=[Toleration] hostAliases=[HostAlias/ip]
         priorityClassName=s priority=i dnsConfig=any readinessGates=[PodReadinessGate] runtimeClassName=s enableServiceLinks=b
         preemptionPolicy=s overhead={q} topologySpreadConstraints=[TopologySpreadConstraint/topologyKey,whenUnsatisfiable]
         setHostnameAsFQDN=b os=any hostUsers=b schedulingGates=[LocalObjectReference/name] resourceClaims=[any] resources=any
        PodReadinessGate: conditionType!=s
        HostAlias: ip!=s hostnames=[s]
        Toleration: key=s operator=s value=s effect=s tolerationSeconds=i
        TopologySpreadConstraint: maxSkew!=i topologyKey!=s whenUnsatisfiable!=s labelSelector=LabelSelector minDomains=i
         nodeAffinityPolicy=s nodeTaintsPolicy=s matchLabelKeys=[s]
        Affinity: nodeAffinity=NodeAffinity podAffinity=PodAffinity podAntiAffinity=PodAffinity
        NodeAffinity: requiredDuringSchedulingIgnoredDuringExecution=NodeSelector
         preferredDuringSchedulingIgnoredDuringExecution=[any]
        NodeSelector: nodeSelectorTerms!=[NodeSelectorTerm]
        NodeSelectorTerm: matchExpressions=[LabelSelectorRequirement] matchFields=[LabelSelectorRequirement]
        PodAffinity: requiredDuringSchedulingIgnoredDuringExecution=[PodAffinityTerm]
         preferredDuringSchedulingIgnoredDuringExecution=[WeightedPodAffinityTerm]
        WeightedPodAffinityTerm: weight!=i podAffinityTerm!=PodAffinityTerm
        PodAffinityTerm: labelSelector=LabelSelector namespaces=[s] topologyKey!=s namespaceSelector=LabelSelector
         matchLabelKeys=[s] mismatchLabelKeys=[s]
        PodSecurityContext: seLinuxOptions=any windowsOptions=any runAsUser=i runAsGroup=i runAsNonRoot=b supplementalGroups=[i]
         supplementalGroupsPolicy=s fsGroup=i sysctls=[any] fsGroupChangePolicy=s seccompProfile=SeccompProfile
         appArmorProfile=AppArmorProfile seLinuxChangePolicy=s
        SeccompProfile: type!=s localhostProfile=s
        AppArmorProfile: type!=s localhostProfile=s
        SecurityContext: capabilities=Capabilities privileged=b seLinuxOptions=any windowsOptions=any runAsUser=i runAsGroup=i
         runAsNonRoot=b readOnlyRootFilesystem=b allowPrivilegeEscalation=b procMount=s seccompProfile=SeccompProfile
         appArmorProfile=AppArmorProfile
        Capabilities: add=[s] drop=[s]
        Container: name!=s image=s command=[s] args=[s] workingDir=s ports=[ContainerPort/containerPort,protocol]
         envFrom=[EnvFromSource] env=[EnvVar/name] resources=ResourceRequirements resizePolicy=[any] restartPolicy=s
         volumeMounts=[VolumeMount/mountPath] volumeDevices=[VolumeDevice/devicePath] livenessProbe=Probe readinessProbe=Probe
         startupProbe=Probe lifecycle=Lifecycle terminationMessagePath=s terminationMessagePolicy=s imagePullPolicy=s
         securityContext=SecurityContext stdin=b stdinOnce=b tty=b targetContainerName=s
        ContainerPort: name=s hostPort=i containerPort!=i protocol=s hostIP=s
        EnvFromSource: prefix=s configMapRef=any secretRef=any
        EnvVar: name!=s value=s valueFrom=EnvVarSource
        EnvVarSource: fieldRef=ObjectFieldSelector resourceFieldRef=ResourceFieldSelector configMapKeyRef=KeySelector
         secretKeyRef=KeySelector
        ObjectFieldSelector: apiVersion=s fieldPath!=s
        ResourceFieldSelector: containerName=s resource!=s divisor=q
        KeySelector: name=s key!=s optional=b
        ResourceRequirements: limits={q} requests={q} claims=[any]
        VolumeMount: name!=s readOnly=b recursiveReadOnly=s mountPath!=s subPath=s mountPropagation=s subPathExpr=s
        VolumeDevice: name!=s devicePath!=s
        Probe: exec=ExecAction httpGet=HTTPGetAction tcpSocket=TCPSocketAction grpc=GRPCAction initialDelaySeconds=i
         timeoutSeconds=i periodSeconds=i successThreshold=i failureThreshold=i terminationGracePeriodSeconds=i
        ExecAction: command=[s]
        HTTPGetAction: path=s port!=ios host=s scheme=s httpHeaders=[any]
        TCPSocketAction: port!=ios host=s
        GRPCAction: port!=i service=s
        Lifecycle: postStart=LifecycleHandler preStop=LifecycleHandler stopSignal=s
        LifecycleHandler: exec=ExecAction httpGet=HTTPGetAction tcpSocket=TCPSocketAction sleep=any
        Volume: name!=s hostPath=HostPathVolumeSource emptyDir=EmptyDirVolumeSource secret=SecretVolumeSource
         configMap=ConfigMapVolumeSource downwardAPI=DownwardAPIVolumeSource projected=ProjectedVolumeSource
         persistentVolumeClaim=any csi=any ephemeral=any image=any nfs=any iscsi=any
        HostPathVolumeSource: path!=s type=s
        EmptyDirVolumeSource: medium=s sizeLimit=q
        SecretVolumeSource: secretName=s items=[KeyToPath] defaultMode=i optional=b
        ConfigMapVolumeSource: name=s items=[KeyToPath] defaultMode=i optional=b
        KeyToPath: key!=s path!=s mode=i
        DownwardAPIVolumeSource: items=[DownwardAPIVolumeFile] defaultMode=i
        DownwardAPIVolumeFile: path!=s fieldRef=ObjectFieldSelector resourceFieldRef=ResourceFieldSelector mode=i
        ProjectedVolumeSource: sources=[VolumeProjection] defaultMode=i
        VolumeProjection: secret=ConfigMapProjection downwardAPI=DownwardAPIVolumeSource configMap=ConfigMapProjection
         serviceAccountToken=ServiceAccountTokenProjection clusterTrustBundle=any
        ConfigMapProjection: name=s items=[KeyToPath] optional=b
        ServiceAccountTokenProjection: audience=s expirationSeconds=i path!=s
        """

    static let podStatus = """
        PodStatus: phase=s conditions=[PodCondition/type] message=s reason=s nominatedNodeName=s hostIP=s hostIPs=[HostIP~ip]
         podIP=s podIPs=[PodIP/ip] startTime=t initContainerStatuses=[ContainerStatus] containerStatuses=[ContainerStatus]
         qosClass=s ephemeralContainerStatuses=[ContainerStatus] resize=s resourceClaimStatuses=[any] observedGeneration=i
        PodCondition: type!=s status!=s lastProbeTime=t lastTransitionTime=t reason=s message=s observedGeneration=i
        HostIP: ip=s
        PodIP: ip=s
        ContainerStatus: name!=s state=ContainerState lastState=ContainerState ready=b restartCount=i image=s imageID=s
         containerID=s started=b allocatedResources={q} resources=any volumeMounts=[any] user=any allocatedResourcesStatus=[any]
         stopSignal=s
        ContainerState: waiting=ContainerStateWaiting running=ContainerStateRunning terminated=ContainerStateTerminated
        ContainerStateWaiting: reason=s message=s
        ContainerStateRunning: startedAt=t
        ContainerStateTerminated: exitCode=i signal=i reason=s message=s startedAt=t finishedAt=t containerID=s
        """
}
