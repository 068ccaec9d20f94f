package etcd

import (
	"context"
	"errors"
	"io"
	"path"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// reportErrors returns options that call onError for every call and every stream that fails. A caller that gave up, and
// a key or lease that does not exist, are no failures.
func reportErrors(onError func(method, code string)) []grpc.DialOption {
	report := func(ctx context.Context, method string, err error) {
		if err == nil || errors.Is(err, io.EOF) || errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		if code := status.Code(err); code != codes.Canceled && code != codes.NotFound {
			onError(path.Base(method), code.String())
		}
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn,
			call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := call(ctx, method, request, answer, conn, opts...)
			report(ctx, method, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, conn, method, opts...)
			report(ctx, method, err)
			if err != nil {
				return nil, err
			}
			return &reportingStream{stream, func(err error) { report(ctx, method, err) }}, nil
		}),
	}
}

type reportingStream struct {
	grpc.ClientStream
	report func(error)
}

func (s *reportingStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	s.report(err)
	return err
}
