// Package jobwright sends HTTP requests through the Jobwright host. The plugin needs a grant for them.
//
//	response, err := jobwright.Send(jobwright.Request{URL: "https://api.example.com/v1"})
//
// A request that is not granted, or gets no response, is an error; the reason is in the job's log.
package jobwright

import (
	"encoding/json"
	"errors"
	"unsafe"
)

// Request is a request to send.
type Request struct {
	// Method is GET if it is empty.
	Method  string            `json:"method,omitempty"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"-"`
}

// Response is a response with any status. The names of headers are in lower case.
type Response struct {
	Status  int
	Headers map[string]string
	Body    []byte
}

//go:wasmimport jobwright http_send
func httpSend(request unsafe.Pointer, requestLength uint32, body unsafe.Pointer, bodyLength uint32) int32

//go:wasmimport jobwright http_headers
func httpHeaders(at unsafe.Pointer, length uint32) int32

//go:wasmimport jobwright http_body
func httpBody(at unsafe.Pointer, length uint32) int32

// Send sends a request, and returns the complete response.
func Send(request Request) (Response, error) {
	head, err := json.Marshal(request)
	if err != nil {
		return Response{}, err
	}
	body := request.Body
	status := httpSend(pointer(head), uint32(len(head)), pointer(body), uint32(len(body)))
	if status < 0 {
		return Response{}, errors.New("the host refused the request, or there was no response: see the job's log")
	}
	response := Response{Status: int(status), Body: read(httpBody)}
	err = json.Unmarshal(read(httpHeaders), &response.Headers)
	return response, err
}

// read copies the headers or the body of the last response.
func read(call func(unsafe.Pointer, uint32) int32) []byte {
	length := call(nil, 0)
	if length <= 0 {
		return nil
	}
	found := make([]byte, length)
	call(pointer(found), uint32(length))
	return found
}

func pointer(of []byte) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(of))
}
