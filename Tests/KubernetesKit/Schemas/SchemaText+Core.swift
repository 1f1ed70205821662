/// Kubernetes 1.32's types, as far as this project's objects and kubectl use them.
enum SchemaText {
    static let metadata = """
        ObjectMeta: name=s generateName=s namespace=s selfLink=s uid=s resourceVersion=s generation=i creationTimestamp=t
         deletionTimestamp=t deletionGracePeriodSeconds=i labels={s} annotations={s} ownerReferences=[OwnerReference/uid]
         finalizers=[s/set] managedFields=[any]
        OwnerReference: apiVersion!=s kind!=s name!=s uid!=s controller=b blockOwnerDeletion=b
        LabelSelector: matchLabels={s} matchExpressions=[LabelSelectorRequirement]
        LabelSelectorRequirement: key!=s operator!=s values=[s]
        Condition: type!=s status!=s observedGeneration=i lastTransitionTime=t reason=s message=s
        ObjectReference: kind=s namespace=s name=s uid=s apiVersion=s resourceVersion=s fieldPath=s
        LocalObjectReference: name=s
        TypedLocalObjectReference: apiGroup=s kind!=s name!=s
        """

    static let core = """
        Namespace: apiVersion=s kind=s metadata=ObjectMeta spec=NamespaceSpec status=NamespaceStatus
        NamespaceSpec: finalizers=[s]
        NamespaceStatus: phase=s conditions=[NamespaceCondition/type]
        NamespaceCondition: type!=s status!=s lastTransitionTime=t reason=s message=s
        Node: apiVersion=s kind=s metadata=ObjectMeta spec=NodeSpec status=NodeStatus
        NodeSpec: podCIDR=s podCIDRs=[s/set] providerID=s unschedulable=b taints=[Taint] configSource=any externalID=s
        Taint: key!=s value=s effect!=s timeAdded=t
        NodeStatus: capacity={q} allocatable={q} phase=s conditions=[NodeCondition/type] addresses=[NodeAddress~type]
         daemonEndpoints=any nodeInfo=NodeSystemInfo images=[any] volumesInUse=[s] volumesAttached=[any] config=any
         runtimeHandlers=[any] features=any
        NodeCondition: type!=s status!=s lastHeartbeatTime=t lastTransitionTime=t reason=s message=s
        NodeAddress: type!=s address!=s
        NodeSystemInfo: machineID=s systemUUID=s bootID=s kernelVersion=s osImage=s containerRuntimeVersion=s kubeletVersion=s
         kubeProxyVersion=s operatingSystem=s architecture=s
        Service: apiVersion=s kind=s metadata=ObjectMeta spec=ServiceSpec status=ServiceStatus
        ServiceSpec: ports=[ServicePort/port,protocol] selector={s} clusterIP=s clusterIPs=[s] type=s externalIPs=[s]
         sessionAffinity=s loadBalancerIP=s loadBalancerSourceRanges=[s] externalName=s externalTrafficPolicy=s
         healthCheckNodePort=i publishNotReadyAddresses=b sessionAffinityConfig=any ipFamilies=[s] ipFamilyPolicy=s
         allocateLoadBalancerNodePorts=b loadBalancerClass=s internalTrafficPolicy=s trafficDistribution=s
        ServicePort: name=s protocol=s appProtocol=s port!=i targetPort=ios nodePort=i
        ServiceStatus: loadBalancer=any conditions=[Condition/type]
        ServiceAccount: apiVersion=s kind=s metadata=ObjectMeta secrets=[ObjectReference/name]
         imagePullSecrets=[LocalObjectReference] automountServiceAccountToken=b
        ConfigMap: apiVersion=s kind=s metadata=ObjectMeta data={s} binaryData={s} immutable=b
        Secret: apiVersion=s kind=s metadata=ObjectMeta data={s} stringData={s} immutable=b type=s
        Event: apiVersion=s kind=s metadata=ObjectMeta involvedObject!=ObjectReference reason=s message=s source=EventSource
         firstTimestamp=t lastTimestamp=t count=i type=s eventTime=t series=EventSeries action=s related=ObjectReference
         reportingComponent=s reportingInstance=s
        EventSource: component=s host=s
        EventSeries: count=i lastObservedTime=t
        Event.events: apiVersion=s kind=s metadata=ObjectMeta eventTime=t series=EventSeries reportingController=s
         reportingInstance=s action=s reason=s regarding=ObjectReference related=ObjectReference note=s type=s
         deprecatedSource=EventSource deprecatedFirstTimestamp=t deprecatedLastTimestamp=t deprecatedCount=i
        """

    static let groups = """
        EndpointSlice: apiVersion=s kind=s metadata=ObjectMeta addressType!=s endpoints!=[Endpoint] ports=[EndpointPort]
        Endpoint: addresses!=[s] conditions=EndpointConditions hostname=s targetRef=ObjectReference deprecatedTopology={s}
         nodeName=s zone=s hints=any
        EndpointConditions: ready=b serving=b terminating=b
        EndpointPort: name=s protocol=s port=i appProtocol=s
        Lease: apiVersion=s kind=s metadata=ObjectMeta spec=LeaseSpec
        LeaseSpec: holderIdentity=s leaseDurationSeconds=i acquireTime=t renewTime=t leaseTransitions=i strategy=s
         preferredHolder=s
        DaemonSet: apiVersion=s kind=s metadata=ObjectMeta spec=DaemonSetSpec status=DaemonSetStatus
        DaemonSetSpec: selector!=LabelSelector template!=PodTemplateSpec updateStrategy=UpdateStrategy minReadySeconds=i
         revisionHistoryLimit=i
        DaemonSetStatus: currentNumberScheduled=i numberMisscheduled=i desiredNumberScheduled=i numberReady=i
         observedGeneration=i updatedNumberScheduled=i numberAvailable=i numberUnavailable=i collisionCount=i
         conditions=[WorkloadCondition/type]
        UpdateStrategy: type=s rollingUpdate=RollingUpdate
        RollingUpdate: maxUnavailable=ios maxSurge=ios partition=i
        WorkloadCondition: type!=s status!=s lastUpdateTime=t lastTransitionTime=t reason=s message=s
        Deployment: apiVersion=s kind=s metadata=ObjectMeta spec=DeploymentSpec status=DeploymentStatus
        DeploymentSpec: replicas=i selector!=LabelSelector template!=PodTemplateSpec strategy=UpdateStrategy minReadySeconds=i
         revisionHistoryLimit=i paused=b progressDeadlineSeconds=i
        DeploymentStatus: observedGeneration=i replicas=i updatedReplicas=i readyReplicas=i availableReplicas=i
         unavailableReplicas=i conditions=[WorkloadCondition/type] collisionCount=i
        StatefulSet: apiVersion=s kind=s metadata=ObjectMeta spec=StatefulSetSpec status=StatefulSetStatus
        StatefulSetSpec: replicas=i selector!=LabelSelector template!=PodTemplateSpec volumeClaimTemplates=[any] serviceName=s
         podManagementPolicy=s updateStrategy=UpdateStrategy revisionHistoryLimit=i minReadySeconds=i
         persistentVolumeClaimRetentionPolicy=any ordinals=any
        StatefulSetStatus: observedGeneration=i replicas=i readyReplicas=i currentReplicas=i updatedReplicas=i currentRevision=s
         updateRevision=s collisionCount=i conditions=[WorkloadCondition/type] availableReplicas=i
        PodDisruptionBudget: apiVersion=s kind=s metadata=ObjectMeta spec=PodDisruptionBudgetSpec
         status=PodDisruptionBudgetStatus
        PodDisruptionBudgetSpec: minAvailable=ios selector=LabelSelector maxUnavailable=ios unhealthyPodEvictionPolicy=s
        PodDisruptionBudgetStatus: observedGeneration=i disruptedPods={t} disruptionsAllowed=i currentHealthy=i desiredHealthy=i
         expectedPods=i conditions=[Condition/type]
        NetworkPolicy: apiVersion=s kind=s metadata=ObjectMeta spec=NetworkPolicySpec
        NetworkPolicySpec: podSelector!=LabelSelector ingress=[NetworkPolicyIngress] egress=[NetworkPolicyEgress] policyTypes=[s]
        NetworkPolicyIngress: ports=[NetworkPolicyPort] from=[NetworkPolicyPeer]
        NetworkPolicyEgress: ports=[NetworkPolicyPort] to=[NetworkPolicyPeer]
        NetworkPolicyPort: protocol=s port=ios endPort=i
        NetworkPolicyPeer: podSelector=LabelSelector namespaceSelector=LabelSelector ipBlock=IPBlock
        IPBlock: cidr!=s except=[s]
        PriorityClass: apiVersion=s kind=s metadata=ObjectMeta value!=i globalDefault=b description=s preemptionPolicy=s
        ClusterRole: apiVersion=s kind=s metadata=ObjectMeta rules=[PolicyRule] aggregationRule=any
        Role: apiVersion=s kind=s metadata=ObjectMeta rules=[PolicyRule]
        PolicyRule: verbs!=[s] apiGroups=[s] resources=[s] resourceNames=[s] nonResourceURLs=[s]
        ClusterRoleBinding: apiVersion=s kind=s metadata=ObjectMeta subjects=[Subject] roleRef!=RoleRef
        RoleBinding: apiVersion=s kind=s metadata=ObjectMeta subjects=[Subject] roleRef!=RoleRef
        Subject: kind!=s apiGroup=s name!=s namespace=s
        RoleRef: apiGroup!=s kind!=s name!=s
        TokenReview: apiVersion=s kind=s metadata=ObjectMeta spec!=TokenReviewSpec status=any
        TokenReviewSpec: token=s audiences=[s]
        TokenRequest: apiVersion=s kind=s metadata=ObjectMeta spec!=TokenRequestSpec status=any
        TokenRequestSpec: audiences=[s] expirationSeconds=i boundObjectRef=BoundObjectReference
        BoundObjectReference: kind=s apiVersion=s name=s uid=s
        SelfSubjectReview: apiVersion=s kind=s metadata=ObjectMeta status=any
        SelfSubjectAccessReview: apiVersion=s kind=s metadata=ObjectMeta spec!=any status=any
        SelfSubjectRulesReview: apiVersion=s kind=s metadata=ObjectMeta spec!=any status=any
        SubjectAccessReview: apiVersion=s kind=s metadata=ObjectMeta spec!=any status=any
        Binding: apiVersion=s kind=s metadata=ObjectMeta target!=ObjectReference
        Eviction: apiVersion=s kind=s metadata=ObjectMeta deleteOptions=any
        """
}
