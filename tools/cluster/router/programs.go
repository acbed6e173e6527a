//go:build tools

// Package router names what `go mod tidy` shall keep: a program that is built and not imported.
package router

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
