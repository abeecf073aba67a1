# Made from deploy/template.yaml by `python -m tests.tools.parameters`.

variable "source_bucket" {
  description = "The bucket of the pictures. Its name must not match Destination (by default: end in -resized), or the function skips its objects as its own output. With the default Destination it has at most 55 characters."
  type        = string
}

variable "create_source_bucket" {
  description = "Whether the stack makes that bucket. CloudFormation can set a notification only on its own buckets. So with \"false\", the bucket's owner sets the notification of output SourceNotification (deploy/buckets.md)."
  type        = bool
  default     = null
}

variable "source_account" {
  description = "The account of the source bucket, if the destination bucket is in another one. Its owner lets the function's role read (deploy/buckets.md). Empty: both are in the same."
  type        = string
  default     = null
}

variable "source_versioning" {
  description = "Whether the stack's source bucket keeps old versions, for OldVersionDays."
  type        = bool
  default     = null
}

variable "old_version_days" {
  description = "With SourceVersioning, the days after which S3 deletes a replaced or deleted version of a source."
  type        = number
  default     = null
}

variable "source_kms_key_arn" {
  description = "The KMS key of the source bucket's objects. Its policy must let the function's role use it. Empty: none."
  type        = string
  default     = null
}

variable "allow_list_bucket" {
  description = "Whether the function may list the source bucket (s3:ListBucket). It never lists, but with the permission S3 answers 404 instead of 403 for a deleted object, so the record ends as skipped:gone and not as rejected:access-denied."
  type        = bool
  default     = null
}

variable "create_destination_bucket" {
  description = "Whether the stack makes that bucket."
  type        = bool
  default     = null
}

variable "destination_account" {
  description = "The account of the destination bucket, if the source bucket is in another one. Empty: both are in the same."
  type        = string
  default     = null
}

variable "readers" {
  description = "cloudfront: the policy of the destination bucket lets the account's CloudFront distributions read (deploy/buckets.md). Empty: only the account's own roles read."
  type        = string
  default     = null

  validation {
    condition     = var.readers == null ? true : contains(["", "cloudfront"], var.readers)
    error_message = "One of: '', 'cloudfront'."
  }
}

variable "destination_events" {
  description = "Whether the destination bucket sends its events to EventBridge, for 1.00 USD a million."
  type        = bool
  default     = null
}

variable "page_origin" {
  description = "The origin of the upload page (docs/on-demand.md), such as https://pictures.example.com: browsers may send forms from it to a source bucket that this stack creates. Empty: from nowhere."
  type        = string
  default     = null
}

variable "trigger" {
  description = "queue: a bucket notification sends to SQS, which invokes the function. eventbridge: an EventBridge rule sends to SQS, for 1.00 USD more a million events of the bucket. direct: the bucket invokes the function, without a queue."
  type        = string
  default     = null

  validation {
    condition     = var.trigger == null ? true : contains(["queue", "eventbridge", "direct"], var.trigger)
    error_message = "One of: 'queue', 'eventbridge', 'direct'."
  }
}

variable "key_prefix" {
  description = "Only events of keys that begin with it; S3 or the rule drops the others for free. Empty: all."
  type        = string
  default     = null
}

variable "key_suffix" {
  description = "Only events of keys that end with it, e.g. .jpg; case matters. Empty: all."
  type        = string
  default     = null
}

variable "package_type" {
  description = "The form of the function's code."
  type        = string
  default     = null

  validation {
    condition     = var.package_type == null ? true : contains(["Image", "Zip"], var.package_type)
    error_message = "One of: 'Image', 'Zip'."
  }
}

variable "image_uri" {
  description = "With PackageType Image, the image in ECR, with its tag or, better, its digest."
  type        = string
  default     = null
}

variable "code_bucket" {
  description = "With PackageType Zip, the bucket of the zip file."
  type        = string
  default     = null
}

variable "code_key" {
  description = "With PackageType Zip, the zip file's key. A new zip needs a new key, or CloudFormation sees no change."
  type        = string
  default     = null
}

variable "runtime" {
  description = "With PackageType Zip, the runtime; the zip has wheels for exactly this Python."
  type        = string
  default     = null

  validation {
    condition     = var.runtime == null ? true : contains(["python3.11", "python3.12", "python3.13", "python3.14"], var.runtime)
    error_message = "One of: 'python3.11', 'python3.12', 'python3.13', 'python3.14'."
  }
}

variable "architecture" {
  description = "The architecture of the image or zip."
  type        = string
  default     = null

  validation {
    condition     = var.architecture == null ? true : contains(["x86_64", "arm64"], var.architecture)
    error_message = "One of: 'x86_64', 'arm64'."
  }
}

variable "memory_size" {
  description = "MB. Sets the processor time (1769 is one vCPU) and the largest picture."
  type        = number
  default     = null
}

variable "timeout" {
  description = "Seconds. The queue's visibility timeout follows from it through a table, so it is one of these."
  type        = string
  default     = null

  validation {
    condition     = var.timeout == null ? true : contains(["10", "20", "30", "60", "120", "300", "600", "900"], var.timeout)
    error_message = "One of: '10', '20', '30', '60', '120', '300', '600', '900'."
  }
}

variable "ephemeral_storage" {
  description = "MB of /tmp, which holds the sources in work."
  type        = number
  default     = null
}

variable "reserve_concurrency" {
  description = "Whether MaximumConcurrency is also the function's reserved concurrency, which limits Trigger direct too. Lambda refuses if less than 100 would remain for the account's other functions."
  type        = bool
  default     = null
}

variable "deployment" {
  description = "How a new version takes over. AllAtOnce: at once. Canary: a tenth of the invocations first, the others later. Linear: a tenth more in each step. If ErrorRateAlarm or FailedRecordsAlarm goes off meanwhile, CodeDeploy goes back. Except with AllAtOnce, code and settings take effect only with a new Release."
  type        = string
  default     = null

  validation {
    condition     = var.deployment == null ? true : contains(["AllAtOnce", "Canary10Percent10Minutes", "Canary10Percent30Minutes", "Linear10PercentEvery2Minutes", "Linear10PercentEvery10Minutes"], var.deployment)
    error_message = "One of: 'AllAtOnce', 'Canary10Percent10Minutes', 'Canary10Percent30Minutes', 'Linear10PercentEvery2Minutes', 'Linear10PercentEvery10Minutes'."
  }
}

variable "release" {
  description = "With a gradual Deployment, a new text (e.g. the date and time) for every change that is to take effect."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "The VPC of SubnetIds, for a function that must not leave it. Empty: the function is in no VPC of yours."
  type        = string
  default     = null
}

variable "subnet_ids" {
  description = "A comma list of subnets that reach S3, e.g. by its gateway endpoint, which is free."
  type        = string
  default     = null
}

variable "permissions_boundary" {
  description = "The policy that bounds every role of the stack, where the account asks for one. Empty: none."
  type        = string
  default     = null
}

variable "role_path" {
  description = "The path of every role of the stack."
  type        = string
  default     = null
}

variable "tracing" {
  description = "Active: X-Ray samples invocations. PassThrough: only if the caller's trace is sampled."
  type        = string
  default     = null

  validation {
    condition     = var.tracing == null ? true : contains(["PassThrough", "Active"], var.tracing)
    error_message = "One of: 'PassThrough', 'Active'."
  }
}

variable "log_format" {
  description = "The form of Lambda's own lines in the log. The function's lines are JSON in both."
  type        = string
  default     = null

  validation {
    condition     = var.log_format == null ? true : contains(["Text", "JSON"], var.log_format)
    error_message = "One of: 'Text', 'JSON'."
  }
}

variable "system_log_level" {
  description = "With LogFormat JSON, the lowest level of Lambda's own lines; WARN leaves out start and report."
  type        = string
  default     = null

  validation {
    condition     = var.system_log_level == null ? true : contains(["DEBUG", "INFO", "WARN"], var.system_log_level)
    error_message = "One of: 'DEBUG', 'INFO', 'WARN'."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the function's log."
  type        = number
  default     = null

  validation {
    condition     = var.log_retention_days == null ? true : contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "One of: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "log_kms_key_arn" {
  description = "The KMS key of the log. Its policy must let CloudWatch Logs use it. Empty: CloudWatch's own."
  type        = string
  default     = null
}

variable "consumer" {
  description = "The consumer of the queue. With \"none\" a worker can empty it (deploy/fargate.md), and the function costs nothing."
  type        = string
  default     = null

  validation {
    condition     = var.consumer == null ? true : contains(["lambda", "none"], var.consumer)
    error_message = "One of: 'lambda', 'none'."
  }
}

variable "batch_size" {
  description = "The most messages in one invocation; above 10 needs a BatchWindow."
  type        = number
  default     = null
}

variable "batch_window" {
  description = "Seconds to wait for a batch to fill. Larger: fewer invocations, later thumbnails."
  type        = string
  default     = null

  validation {
    condition     = var.batch_window == null ? true : contains(["0", "1", "5", "10", "30", "60", "300"], var.batch_window)
    error_message = "One of: '0', '1', '5', '10', '30', '60', '300'."
  }
}

variable "maximum_concurrency" {
  description = "The most invocations at a time from the queue, and so the function's highest cost."
  type        = number
  default     = null
}

variable "max_receive_count" {
  description = "Receives of a message before it goes to the dead-letter queue."
  type        = number
  default     = null
}

variable "queue_retention_seconds" {
  description = "The longest time that an event waits in the queue; less than the 14 days of the dead-letter queue, which start at the same moment."
  type        = number
  default     = null
}

variable "destination" {
  description = "The bucket that thumbnails go to."
  type        = string
  default     = null
}

variable "key" {
  description = "The key of a thumbnail. Default: {key} for one rendition, {key}/{name}.{ext} for several."
  type        = string
  default     = null
}

variable "sources" {
  description = "Only events of these buckets, a comma list of globs. Empty: SourceBucket."
  type        = string
  default     = null
}

variable "include" {
  description = "Only these keys; `*` matches `/` too. Empty: all keys."
  type        = string
  default     = null
}

variable "exclude" {
  description = "Not these keys. Empty: none."
  type        = string
  default     = null
}

variable "expected_owner" {
  description = "The account of both buckets. Empty: the stack's."
  type        = string
  default     = null
}

variable "on_delete" {
  description = "Whether thumbnails are deleted or kept when their source is deleted. With keep, the role may not delete."
  type        = string
  default     = null

  validation {
    condition     = var.on_delete == null ? true : contains(["delete", "keep"], var.on_delete)
    error_message = "One of: 'delete', 'keep'."
  }
}

variable "write_once" {
  description = "No key is ever written twice: saves a HEAD a picture. If a key is overwritten or removed while its thumbnails are made, the older ones may stay."
  type        = string
  default     = null

  validation {
    condition     = var.write_once == null ? true : contains(["on", "off"], var.write_once)
    error_message = "One of: 'on', 'off'."
  }
}

variable "failed_prefix" {
  description = "Prefix in the destination for a JSON note about each rejected object. Empty: no notes."
  type        = string
  default     = null
}

variable "renditions" {
  description = "The thumbnails to make of each picture; never enlarged."
  type        = string
  default     = null
}

variable "offers" {
  description = "More renditions that anyone may ask for on demand; kept once they are made."
  type        = string
  default     = null
}

variable "any_prefix" {
  description = "Prefix in the destination for the pictures of THUMBNAILER_OFFERS. Empty: none is kept."
  type        = string
  default     = null
}

variable "svg" {
  description = "Accept SVG drawings; they are drawn without network or file access."
  type        = string
  default     = null

  validation {
    condition     = var.svg == null ? true : contains(["on", "off"], var.svg)
    error_message = "One of: 'on', 'off'."
  }
}

variable "thumbhash" {
  description = "Put a ThumbHash (a placeholder of about 25 bytes, Base64) into each thumbnail's metadata `thumbhash`."
  type        = string
  default     = null

  validation {
    condition     = var.thumbhash == null ? true : contains(["on", "off"], var.thumbhash)
    error_message = "One of: 'on', 'off'."
  }
}

variable "user_metadata" {
  description = "Copy the source's user metadata to its thumbnails."
  type        = string
  default     = null

  validation {
    condition     = var.user_metadata == null ? true : contains(["on", "off"], var.user_metadata)
    error_message = "One of: 'on', 'off'."
  }
}

variable "cache_control" {
  description = "Cache-Control of every thumbnail. Empty: the source's own."
  type        = string
  default     = null
}

variable "storage_class" {
  description = "Storage class of every thumbnail. Empty: STANDARD."
  type        = string
  default     = null

  validation {
    condition     = var.storage_class == null ? true : contains(["", "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"], var.storage_class)
    error_message = "One of: '', 'STANDARD', 'STANDARD_IA', 'ONEZONE_IA', 'INTELLIGENT_TIERING', 'GLACIER_IR', 'REDUCED_REDUNDANCY'."
  }
}

variable "sse" {
  description = "Server-side encryption of every thumbnail. Empty: the bucket's own."
  type        = string
  default     = null

  validation {
    condition     = var.sse == null ? true : contains(["", "AES256", "aws:kms", "aws:kms:dsse"], var.sse)
    error_message = "One of: '', 'AES256', 'aws:kms', 'aws:kms:dsse'."
  }
}

variable "kms_key_id" {
  description = "The KMS key for thumbnails, and the default key of a destination bucket made here; needs Sse aws:kms or aws:kms:dsse. The key's policy must let the role use it."
  type        = string
  default     = null
}

variable "engine" {
  description = "The engine to prefer; auto is the fastest one for the format; native is the compiled one for JPEG. Falls back to the others if decoding fails."
  type        = string
  default     = null

  validation {
    condition     = var.engine == null ? true : contains(["auto", "native", "vips", "pillow"], var.engine)
    error_message = "One of: 'auto', 'native', 'vips', 'pillow'."
  }
}

variable "isolation" {
  description = "Pictures decoded in a child process without credentials, network or files: those whose message comes again, or all."
  type        = string
  default     = null

  validation {
    condition     = var.isolation == null ? true : contains(["redelivered", "always"], var.isolation)
    error_message = "One of: 'redelivered', 'always'."
  }
}

variable "transport" {
  description = "The S3 client; auto is obstore if it supports settings and credentials."
  type        = string
  default     = null

  validation {
    condition     = var.transport == null ? true : contains(["auto", "obstore", "aioboto3"], var.transport)
    error_message = "One of: 'auto', 'obstore', 'aioboto3'."
  }
}

variable "max_pixels" {
  description = "Refuse pictures of more work, in pixels decoded from a still (docs/memory.md). Empty: from the tier."
  type        = string
  default     = null
}

variable "max_bytes" {
  description = "Refuse objects with more bytes. Empty: from the tier."
  type        = string
  default     = null
}

variable "max_frames" {
  description = "Show only the first frame of animations with more. Unset, as from 4000 on: 4000."
  type        = string
  default     = null
}

variable "workers" {
  description = "Decoding threads. Empty: from the tier."
  type        = string
  default     = null
}

variable "in_flight" {
  description = "Records in work at once. Empty: from the tier."
  type        = string
  default     = null
}

variable "log_level" {
  description = "The lowest level logged; DEBUG: a line a record."
  type        = string
  default     = null

  validation {
    condition     = var.log_level == null ? true : contains(["DEBUG", "INFO", "WARNING", "ERROR"], var.log_level)
    error_message = "One of: 'DEBUG', 'INFO', 'WARNING', 'ERROR'."
  }
}

variable "alarm_topic_arn" {
  description = "The SNS topic for alarms. Empty: none."
  type        = string
  default     = null
}

variable "alarm_email" {
  description = "The address for alarms, in place of AlarmTopicArn; AWS asks it for confirmation. Empty: none."
  type        = string
  default     = null
}

variable "error_rate_alarm_percent" {
  description = "Alarm if a higher percentage of the invocations or of the records fail."
  type        = number
  default     = null
}

variable "age_alarm_seconds" {
  description = "Alarm if the oldest event has waited longer."
  type        = number
  default     = null
}

variable "duration_alarm_percent" {
  description = "Alarm if one invocation in a hundred takes a higher percentage of Timeout."
  type        = number
  default     = null
}

variable "cost_alarm_usd" {
  description = "Alarm if the function's invocations of a day cost more, at the prices of us-east-1. MaximumConcurrency of 10 at 1769 MB cost at most 24.88 a day. Empty: no alarm."
  type        = string
  default     = null
}

variable "create_dashboard" {
  description = "Whether the stack makes a CloudWatch dashboard."
  type        = bool
  default     = null
}

locals {
  parameters = {
    SourceBucket            = var.source_bucket
    CreateSourceBucket      = var.create_source_bucket
    SourceAccount           = var.source_account
    SourceVersioning        = var.source_versioning
    OldVersionDays          = var.old_version_days
    SourceKmsKeyArn         = var.source_kms_key_arn
    AllowListBucket         = var.allow_list_bucket
    CreateDestinationBucket = var.create_destination_bucket
    DestinationAccount      = var.destination_account
    Readers                 = var.readers
    DestinationEvents       = var.destination_events
    PageOrigin              = var.page_origin
    Trigger                 = var.trigger
    KeyPrefix               = var.key_prefix
    KeySuffix               = var.key_suffix
    PackageType             = var.package_type
    ImageUri                = var.image_uri
    CodeBucket              = var.code_bucket
    CodeKey                 = var.code_key
    Runtime                 = var.runtime
    Architecture            = var.architecture
    MemorySize              = var.memory_size
    Timeout                 = var.timeout
    EphemeralStorage        = var.ephemeral_storage
    ReserveConcurrency      = var.reserve_concurrency
    Deployment              = var.deployment
    Release                 = var.release
    VpcId                   = var.vpc_id
    SubnetIds               = var.subnet_ids
    PermissionsBoundary     = var.permissions_boundary
    RolePath                = var.role_path
    Tracing                 = var.tracing
    LogFormat               = var.log_format
    SystemLogLevel          = var.system_log_level
    LogRetentionDays        = var.log_retention_days
    LogKmsKeyArn            = var.log_kms_key_arn
    Consumer                = var.consumer
    BatchSize               = var.batch_size
    BatchWindow             = var.batch_window
    MaximumConcurrency      = var.maximum_concurrency
    MaxReceiveCount         = var.max_receive_count
    QueueRetentionSeconds   = var.queue_retention_seconds
    Destination             = var.destination
    Key                     = var.key
    Sources                 = var.sources
    Include                 = var.include
    Exclude                 = var.exclude
    ExpectedOwner           = var.expected_owner
    OnDelete                = var.on_delete
    WriteOnce               = var.write_once
    FailedPrefix            = var.failed_prefix
    Renditions              = var.renditions
    Offers                  = var.offers
    AnyPrefix               = var.any_prefix
    Svg                     = var.svg
    Thumbhash               = var.thumbhash
    UserMetadata            = var.user_metadata
    CacheControl            = var.cache_control
    StorageClass            = var.storage_class
    Sse                     = var.sse
    KmsKeyId                = var.kms_key_id
    Engine                  = var.engine
    Isolation               = var.isolation
    Transport               = var.transport
    MaxPixels               = var.max_pixels
    MaxBytes                = var.max_bytes
    MaxFrames               = var.max_frames
    Workers                 = var.workers
    InFlight                = var.in_flight
    LogLevel                = var.log_level
    AlarmTopicArn           = var.alarm_topic_arn
    AlarmEmail              = var.alarm_email
    ErrorRateAlarmPercent   = var.error_rate_alarm_percent
    AgeAlarmSeconds         = var.age_alarm_seconds
    DurationAlarmPercent    = var.duration_alarm_percent
    CostAlarmUsd            = var.cost_alarm_usd
    CreateDashboard         = var.create_dashboard
  }
}
