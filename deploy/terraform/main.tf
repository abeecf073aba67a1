# deploy/template.yaml as a stack. variables.tf has a variable for each of its parameters.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "The stack's name."
  type        = string
  default     = "thumbnailer"
}

variable "template_bucket" {
  description = "A bucket for the template, e.g. that of the zip: the template is too large for a request."
  type        = string
}

resource "aws_s3_object" "template" {
  bucket = var.template_bucket
  key    = "templates/${filesha256("${path.module}/../template.yaml")}.yaml"
  source = "${path.module}/../template.yaml"
}

data "aws_s3_bucket" "template" {
  bucket = var.template_bucket
}

resource "aws_cloudformation_stack" "thumbnailer" {
  name         = var.name
  template_url = "https://${data.aws_s3_bucket.template.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  parameters   = { for name, value in local.parameters : name => tostring(value) if value != null }
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
  on_failure   = "DELETE"
}

output "outputs" {
  description = "The stack's outputs by name, e.g. DashboardUrl."
  value       = aws_cloudformation_stack.thumbnailer.outputs
}
