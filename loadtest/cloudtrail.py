"""CloudTrail records as accounts make them, from a seed: the same seed gives the same records.

Services, calls, their share, who makes them and how large they are follow the real records of `../shared/corpus`
(`tests/loadtest/test_cloudtrail.py` compares them where the corpus is there): three in four only read, most come from
users and assumed roles, some from AWS's services, a few are refused. Times are the caller's to say, so that nothing
here looks at a clock.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ACCOUNTS = tuple(f"{100_000_000_001 + number}" for number in range(50))
REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-1")


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call. Values of `request` and `response` are templates, see `_filled`."""

    service: str
    name: str
    weight: int
    reads: bool
    request: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None
    resource: str | None = None
    resource_type: str | None = None
    category: str = "Management"
    by_service: str | None = None
    errors: Sequence[tuple[str, str]] = ()
    kind: str = "AwsApiCall"


_NO_PERMISSION = ("AccessDenied", "User is not authorized to perform this operation")
_NO_EC2_PERMISSION = (
    "Client.UnauthorizedOperation",
    "You are not authorized to perform this operation. Encoded authorization failure message: $text400",
)
_THROTTLED = ("ThrottlingException", "Rate exceeded")
_FILTERS = {"filterSet": {"items": [{"name": "vpc-id", "valueSet": {"items": [{"value": "vpc-$hex17"}]}}]}}
_RULES = {
    "groupId": "sg-$hex17",
    "ipPermissions": {
        "items": [
            {
                "ipProtocol": "tcp",
                "fromPort": 443,
                "toPort": 443,
                "groups": {},
                "ipRanges": {"items": [{"cidrIp": "10.$byte.0.0/16", "description": "from $name"}]},
                "ipv6Ranges": {},
                "prefixListIds": {},
            }
        ]
    },
}
_INSTANCE = {
    "instanceId": "i-$hex17",
    "imageId": "ami-$hex17",
    "currentState": {"code": 0, "name": "pending"},
    "privateDnsName": "ip-10-0-$byte-$byte.$region.compute.internal",
    "amiLaunchIndex": 0,
    "productCodes": {},
    "instanceType": "t3.medium",
    "placement": {"availabilityZone": "$regionb", "tenancy": "default"},
    "monitoring": {"state": "disabled"},
    "subnetId": "subnet-$hex17",
    "vpcId": "vpc-$hex17",
    "privateIpAddress": "10.0.$byte.$byte",
    "architecture": "x86_64",
    "rootDeviceType": "ebs",
    "rootDeviceName": "/dev/xvda",
    "blockDeviceMapping": {},
    "virtualizationType": "hvm",
    "hypervisor": "xen",
    "tagSet": {"items": [{"key": "Name", "value": "$name"}, {"key": "team", "value": "$name"}]},
    "groupSet": {"items": [{"groupId": "sg-$hex17", "groupName": "$name"}]},
    "networkInterfaceSet": {
        "items": [
            {
                "networkInterfaceId": "eni-$hex17",
                "subnetId": "subnet-$hex17",
                "vpcId": "vpc-$hex17",
                "ownerId": "$account",
                "status": "in-use",
                "privateIpAddress": "10.0.$byte.$byte",
                "sourceDestCheck": True,
                "groupSet": {"items": [{"groupId": "sg-$hex17", "groupName": "$name"}]},
            }
        ]
    },
}
_PARAMETER = {"name": "/$name/$hex8", "withDecryption": True}
_SECRET = "arn:aws:secretsmanager:$region:$account:secret:$name-$hex8"
_KEY = "arn:aws:kms:$region:$account:key/$uuid"
_BUCKET = "arn:aws:s3:::$name-$account-$hex8"
_OBJECT = {"bucketName": "$name-$account", "Host": "$name-$account.s3.$region.amazonaws.com", "key": "$name/$hex17"}

CALLS: tuple[Call, ...] = (
    Call("ec2", "DescribeInstances", 60, True, {"maxResults": 1000, "instancesSet": {}, **_FILTERS}),
    Call("ec2", "DescribeRouteTables", 60, True, {"routeTableIdSet": {}, **_FILTERS}),
    Call("ec2", "DescribeSubnets", 40, True, {"subnetSet": {}, **_FILTERS}),
    Call("ec2", "DescribeVpcs", 30, True, {"vpcSet": {"items": [{"vpcId": "vpc-$hex17"}]}, "filterSet": {}}),
    Call("ec2", "DescribeSecurityGroups", 30, True, {"securityGroupSet": {}, **_FILTERS}),
    Call("ec2", "DescribeNetworkInterfaces", 25, True, {"networkInterfaceIdSet": {}, **_FILTERS}),
    Call("ec2", "DescribeVolumes", 20, True, {"volumeSet": {"items": [{"volumeId": "vol-$hex17"}]}}),
    Call("ec2", "GetPasswordData", 4, True, {"instanceId": "i-$hex17"}, errors=(_NO_EC2_PERMISSION,)),
    Call(
        "ec2",
        "RunInstances",
        16,
        False,
        {
            "instancesSet": {"items": [{"imageId": "ami-$hex17", "minCount": 1, "maxCount": 1}]},
            "instanceType": "t3.medium",
            "blockDeviceMapping": {},
            "monitoring": {"enabled": False},
            "disableApiTermination": False,
            "clientToken": "$uuid",
        },
        {
            "requestId": "$uuid",
            "reservationId": "r-$hex17",
            "ownerId": "$account",
            "instancesSet": {"items": [_INSTANCE]},
        },
    ),
    Call(
        "ec2",
        "TerminateInstances",
        14,
        False,
        {"instancesSet": {"items": [{"instanceId": "i-$hex17"}]}},
        {"requestId": "$uuid", "instancesSet": {"items": [{"instanceId": "i-$hex17", "currentState": {"code": 32}}]}},
    ),
    Call("ec2", "AuthorizeSecurityGroupIngress", 22, False, _RULES, {"requestId": "$uuid", "_return": True}),
    Call(
        "ec2",
        "ModifySnapshotAttribute",
        2,
        False,
        {
            "snapshotId": "snap-$hex17",
            "createVolumePermission": {"add": {"items": [{"userId": "$account"}]}},
            "attributeType": "CREATE_VOLUME_PERMISSION",
        },
        {"requestId": "$uuid", "_return": True},
    ),
    Call("ec2", "CreateTags", 38, False, {"resourcesSet": {"items": [{"resourceId": "i-$hex17"}]}}, {"_return": True}),
    Call("ssm", "DescribeInstanceInformation", 50, True, {"maxResults": 50, "filters": [{"key": "$name"}]}),
    Call("ssm", "DescribeParameters", 40, True, {"maxResults": 50, "parameterFilters": [{"key": "Name"}]}),
    Call("ssm", "GetParameter", 60, True, _PARAMETER, resource="arn:aws:ssm:$region:$account:parameter/$name"),
    Call("ssm", "PutParameter", 45, False, {**_PARAMETER, "type": "SecureString"}, errors=(_THROTTLED,)),
    Call("ssm", "DeleteParameter", 22, False, {"name": "/$name/$hex8"}),
    Call(
        "ssm",
        "UpdateInstanceInformation",
        55,
        False,
        {
            "instanceId": "i-$hex17",
            "agentVersion": "3.3.2299.0",
            "platformType": "Linux",
            "iPAddress": "10.0.$byte.$byte",
        },
        resource="arn:aws:ec2:$region:$account:instance/i-$hex17",
    ),
    Call("iam", "GetUser", 40, True, {"userName": "$name"}),
    Call("iam", "GetRole", 35, True, {"roleName": "$name-$hex8"}),
    Call("iam", "ListAttachedRolePolicies", 30, True, {"roleName": "$name-$hex8"}),
    Call(
        "iam",
        "CreateAccessKey",
        4,
        False,
        {"userName": "$name"},
        {"accessKey": {"userName": "$name", "status": "Active"}},
    ),
    Call(
        "iam",
        "AttachRolePolicy",
        9,
        False,
        {"roleName": "$name", "policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
    ),
    Call(
        "s3",
        "GetBucketAcl",
        40,
        True,
        {"bucketName": "$name", "acl": ""},
        resource=_BUCKET,
        by_service="cloudtrail",
        resource_type="AWS::S3::Bucket",
    ),
    Call(
        "s3",
        "GetBucketPolicy",
        25,
        True,
        {"bucketName": "$name-$hex8", "policy": ""},
        resource=_BUCKET,
        errors=(("NoSuchBucketPolicy", "The bucket policy does not exist"),),
    ),
    Call(
        "s3", "PutBucketPolicy", 8, False, {"bucketName": "$name-$hex8", "bucketPolicy": "$text400"}, resource=_BUCKET
    ),
    Call("s3", "GetObject", 15, True, _OBJECT, resource=_BUCKET, resource_type="AWS::S3::Object", category="Data"),
    Call("s3", "PutObject", 25, False, _OBJECT, resource=_BUCKET, resource_type="AWS::S3::Object", category="Data"),
    Call("secretsmanager", "GetSecretValue", 40, True, {"secretId": _SECRET}, errors=(_NO_PERMISSION,)),
    Call("secretsmanager", "DescribeSecret", 15, True, {"secretId": _SECRET}),
    Call(
        "secretsmanager",
        "PutSecretValue",
        18,
        False,
        {"secretId": _SECRET, "clientRequestToken": "$uuid"},
        {"arn": _SECRET},
    ),
    Call(
        "kms",
        "Decrypt",
        90,
        True,
        {"encryptionContext": {"aws:secretsmanager:arn": _SECRET}, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        resource=_KEY,
        resource_type="AWS::KMS::Key",
        errors=(_NO_PERMISSION,),
    ),
    Call(
        "kms",
        "GenerateDataKey",
        25,
        True,
        {"keyId": _KEY, "keySpec": "AES_256"},
        resource=_KEY,
        resource_type="AWS::KMS::Key",
        by_service="s3",
    ),
    Call(
        "kms",
        "ScheduleKeyDeletion",
        1,
        False,
        {"keyId": _KEY, "pendingWindowInDays": 7},
        {"keyId": _KEY},
        resource=_KEY,
    ),
    Call("rds", "DescribeDBInstances", 45, True, {"dBInstanceIdentifier": "$name-$hex8"}),
    Call("rds", "ModifyDBInstance", 7, False, {"dBInstanceIdentifier": "$name", "allowMajorVersionUpgrade": False}),
    Call(
        "sts",
        "AssumeRole",
        60,
        True,
        {"roleArn": "arn:aws:iam::$account:role/$name", "roleSessionName": "$hex17", "durationSeconds": 3600},
        {
            "credentials": {"accessKeyId": "ASIAEXAMPLE$hex8", "sessionToken": "$text400"},
            "assumedRoleUser": {
                "assumedRoleId": "AROAEXAMPLE$hex8:$hex17",
                "arn": "arn:aws:sts::$account:assumed-role/$name/$hex17",
            },
        },
        by_service="ec2",
    ),
    Call("sts", "GetCallerIdentity", 25, True),
    Call(
        "lambda", "GetFunction20150331v2", 20, True, {"functionName": "arn:aws:lambda:$region:$account:function:$name"}
    ),
    Call(
        "lambda", "UpdateFunctionCode20150331v2", 12, False, {"functionName": "$name", "publish": True, "dryRun": False}
    ),
    Call("cloudtrail", "StopLogging", 1, False, {"name": "arn:aws:cloudtrail:$region:$account:trail/$name"}),
    Call("cloudtrail", "LookupEvents", 12, True, {"maxResults": 50, "lookupAttributes": [{"attributeKey": "$name"}]}),
    Call(
        "health",
        "DescribeEventAggregates",
        12,
        True,
        {"aggregateField": "eventTypeCategory", "filter": {"eventStatusCodes": ["open"]}},
    ),
    Call("signin", "ConsoleLogin", 6, False, None, {"ConsoleLogin": "Success"}, kind="AwsConsoleSignIn"),
)
_WEIGHTS = [call.weight for call in CALLS]
_SHARES = [1 / (rank + 8) for rank in range(len(ACCOUNTS))]
_REGION_SHARES = (40, 10, 20, 15, 10, 5)
_NAMES = "orders payments billing search platform data-lake audit network identity media".split()
_AGENTS = (
    (
        "APN/1.0 HashiCorp/1.0 Terraform/1.1.2 (+https://www.terraform.io) terraform-provider-aws/3.76.1 "
        "(+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go/1.44.157 (go1.19.3; linux; amd64)",
        50,
    ),
    ("aws-cli/2.13.0 Python/3.11.4 Linux/5.10.0 exe/x86_64.amzn.2 prompt/off command/$command", 15),
    ("Boto3/1.34.2 Python/3.11.6 Linux/6.1.0 Botocore/1.34.2", 20),
    ("aws-sdk-go-v2/1.24.0 os/linux lang/go#1.21.5 md/GOOS#linux md/GOARCH#amd64", 10),
    ("console.amazonaws.com", 5),
)


@dataclass(slots=True)
class CloudTrail:
    """Draws records. One object is for one caller: it is a stream."""

    seed: int
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def place(self) -> tuple[str, str]:
        """An account and a region: some accounts do more than others, as in any organization, and some regions."""
        return self._random.choices(ACCOUNTS, _SHARES)[0], self._random.choices(REGIONS, _REGION_SHARES)[0]

    def record(self, account: str, region: str, time: str) -> dict[str, Any]:
        """One record of that account and region; `time` is ISO 8601, whole seconds."""
        dice = self._random
        call = dice.choices(CALLS, _WEIGHTS)[0]
        host = f"{call.service}.{region}.amazonaws.com"
        by_service = call.by_service is not None and dice.random() < 0.5
        who, address, agent = self._caller(call, account, time, by_service=by_service)
        request_id, event_id = self._uuid(), self._uuid()
        record: dict[str, Any] = {
            "eventVersion": "1.08",
            "userIdentity": who,
            "eventTime": time,
            "eventSource": f"{call.service}.amazonaws.com",
            "eventName": call.name,
            "awsRegion": region,
            "sourceIPAddress": address,
            "userAgent": agent,
        }
        refused = bool(call.errors) and dice.random() < 0.3
        if refused:
            code, message = dice.choice(call.errors)
            record["errorCode"] = code
            record["errorMessage"] = self._filled(message, account, region)
        record["requestParameters"] = self._filled(call.request, account, region)
        record["responseElements"] = None if refused else self._filled(call.response, account, region)
        if call.service == "s3":
            record["additionalEventData"] = {
                "SignatureVersion": "SigV4",
                "CipherSuite": "ECDHE-RSA-AES128-GCM-SHA256",
                "bytesTransferredIn": 0,
                "AuthenticationMethod": "AuthHeader",
                "x-amz-id-2": self._hex(76),
                "bytesTransferredOut": dice.randrange(100, 5000),
            }
        record["requestID"] = request_id
        record["eventID"] = event_id
        record["readOnly"] = call.reads
        if call.resource is not None:
            resource = {"accountId": account, "ARN": self._filled(call.resource, account, region)}
            record["resources"] = [resource | ({"type": call.resource_type} if call.resource_type else {})]
        record["eventType"] = call.kind
        record["managementEvent"] = call.category == "Management"
        record["recipientAccountId"] = account
        record["eventCategory"] = call.category
        if not by_service and call.kind == "AwsApiCall" and dice.random() < 0.85:
            record["tlsDetails"] = {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": host,
            }
        return record

    def batch(self, count: int, account: str, region: str, time: str) -> bytes:
        """So many records of one place, as CloudTrail delivers them: `{"Records": […]}`."""
        records = [self.record(account, region, time) for _ in range(count)]
        return json.dumps({"Records": records}, separators=(",", ":")).encode()

    def _caller(self, call: Call, account: str, time: str, *, by_service: bool) -> tuple[dict[str, Any], str, str]:
        """Identity, address and user agent."""
        dice = self._random
        if by_service:
            service = f"{call.by_service}.amazonaws.com"
            return {"type": "AWSService", "invokedBy": service}, service, service
        name = dice.choice(_NAMES)
        address = f"198.51.{dice.randrange(256)}.{dice.randrange(1, 255)}"
        agent = dice.choices([text for text, _ in _AGENTS], [weight for _, weight in _AGENTS])[0]
        agent = agent.replace("$command", f"{call.service}.{call.name.lower()}")
        drawn = dice.random()
        if drawn < 0.004:
            root = {"type": "Root", "principalId": account, "arn": f"arn:aws:iam::{account}:root", "accountId": account}
            return root, address, agent
        if drawn < 0.55:
            user = {
                "type": "IAMUser",
                "principalId": f"AIDAEXAMPLE{account[-4:]}{len(name):06}",
                "arn": f"arn:aws:iam::{account}:user/{name}",
                "accountId": account,
                "accessKeyId": f"AKIAEXAMPLE{account[-4:]}{len(name):05}",
                "userName": name,
            }
            return user, address, agent
        principal = f"AROAEXAMPLE{account[-4:]}{len(name):06}"
        session = f"i-{self._hex(17)}" if drawn < 0.8 else f"{name}@example.com"
        identity: dict[str, Any] = {
            "type": "AssumedRole",
            "principalId": f"{principal}:{session}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "accountId": account,
            "accessKeyId": f"ASIAEXAMPLE{self._hex(9).upper()}",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": principal,
                    "arn": f"arn:aws:iam::{account}:role/{name}",
                    "accountId": account,
                    "userName": name,
                },
                "webIdFederationData": {},
                "attributes": {"creationDate": time, "mfaAuthenticated": "false"},
            },
        }
        return identity, address, agent

    def _filled(self, template: Any, account: str, region: str) -> Any:
        """The template with its `$words` replaced; what has none stays as it is."""
        if isinstance(template, str):
            if "$" not in template:
                return template
            text = template.replace("$account", account).replace("$region", region)
            for word, length in (("$hex17", 17), ("$hex8", 8), ("$text400", 400)):
                while word in text:
                    text = text.replace(word, self._hex(length), 1)
            while "$byte" in text:
                text = text.replace("$byte", str(self._random.randrange(256)), 1)
            if "$uuid" in text:
                text = text.replace("$uuid", self._uuid())
            return text.replace("$name", self._random.choice(_NAMES)) if "$name" in text else text
        if isinstance(template, Mapping):
            return {key: self._filled(value, account, region) for key, value in template.items()}
        if isinstance(template, list):
            return [self._filled(value, account, region) for value in template]
        return template

    def _hex(self, length: int) -> str:
        return f"{self._random.getrandbits(length * 4):0{length}x}"

    def _uuid(self) -> str:
        text = self._hex(32)
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"
